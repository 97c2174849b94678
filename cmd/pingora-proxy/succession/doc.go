// Package succession is how a process takes the place of the one that runs, and gives its own: the flags, where the two meet,
// the start of a successor. What they say to each other is in dataplane/listener/handover.
package succession

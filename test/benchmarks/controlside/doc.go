// Package controlside measures what it costs to make a configuration the one that serves: thousands of services, as a
// folder of files that a real process follows, and as objects in this process. There is no cluster; test/scale has one.
package controlside

// Package filters makes filters of the settings of a route and its service: List is the one place that says which there
// are and in which order they run. It is pure. What the settings refer to is found by controllers/translate, and how a
// filter works is said in dataplane/filter.
package filters

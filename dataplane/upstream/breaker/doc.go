// Package breaker bounds what a cluster is asked for: how many requests may run at its endpoints at the same time and how
// many may wait for that, and whether any may come at all while too many fail. Which failures count, and what a refused
// request is told, is left to those who ask.
package breaker

// Package budget bounds retries, so that trouble is not answered with more of it. Which request may be tried again is
// package proxy's to decide, and at which endpoint package upstream's.
package budget

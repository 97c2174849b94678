//go:build !race

package harness

// Race says that the tests, and so the program, are built with the race detector.
const Race = false

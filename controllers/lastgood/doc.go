// Package lastgood keeps the configuration that served last in a file, so that a restart without its source can serve it:
// written in one step, readable by its owner alone, and refused when it is not just what was written.
//
// What the configuration is, and when it is good, is the caller's. Only one process may write a file.
package lastgood

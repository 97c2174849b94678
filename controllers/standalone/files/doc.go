// Package files reads the files that a configuration is made of, and notices when they change. What stands in them is
// others' to know.
package files

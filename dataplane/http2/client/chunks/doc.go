// Package chunks holds what has come of a body and was not read yet, in memory that all bodies share.
package chunks

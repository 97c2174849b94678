// Package parts makes those parts of a snapshot that one setting says alone, whatever stands around it. All are written out,
// field by field: nothing gets from the user's schema into the data plane by having the same name.
package parts

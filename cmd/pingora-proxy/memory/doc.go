// Package memory keeps the process within the memory that it may have: the runtime gets a limit from the control group that
// the process runs in, and what a peak has left behind is given back to the system when it is over.
//
// What single parts may take is theirs to bound.
package memory

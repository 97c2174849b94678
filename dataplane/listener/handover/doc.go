// Package handover passes listening sockets from a process to the one that takes its place, over a UNIX socket, and settles
// which of the two serves on.
//
// The new process waits at a path (Listen, Door.Await); the old one, told to go, comes there (Dial). Then:
//
//	new → old  hello     who it is
//	old → new  sockets   in one message or several
//	           …         the new process begins to accept on them, beside the old one
//	new → old  serving   which of the sockets it does not want
//	old → new  yours
//	new → old  mine      now, and not before, the old one lets go
//	old        closes    it has let go
//
// Each may say refused instead, with the reason, and then nothing has changed for the old one. Where a process dies, the
// other one is told by the kernel: until mine has arrived the old one serves on, and a new one whose old one has died
// goes on with the sockets that it has.
//
// A peer must be of the same user, or root: the kernel says who it is. What is passed is the kernel's own queue of
// connections, so none is lost, whoever accepts it.
//
// What the sockets are of is the listener's part; when to hand over is the command's.
package handover

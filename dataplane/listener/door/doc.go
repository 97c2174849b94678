// Package door accepts connections on a listening socket, several at a time and with as few system calls as there can be:
// what it accepts is not registered with Go's poller.
//
// Who may come in, and what becomes of them, is for others to say.
package door

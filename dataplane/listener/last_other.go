//go:build !linux

package listener

import "net"

// ignoreNew does nothing: a connection that comes between the last accept and the close is reset.
func ignoreNew(*net.TCPListener) {}

// queued leaves what is queued to the accepts before the deadline.
func queued(*net.TCPListener) []*net.TCPConn { return nil }

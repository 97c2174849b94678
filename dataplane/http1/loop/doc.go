// Package loop serves plain TCP connections without a goroutine each: a Loop asks the kernel once for what has become of
// all its connections (epoll(7)), and serves those that have something to read, one after the other.
//
// What serves a connection is written as if it had a goroutine of its own. It runs as a coroutine, and where it would wait
// for a connection it hands control back to the Loop, which goes on with others. A connection that waits for a request
// holds no coroutine, and so no stack.
//
// It leaves to others what is sent and received: a Socket is a net.Conn like others.
package loop

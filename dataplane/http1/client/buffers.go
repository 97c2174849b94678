package client

import (
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A buffer is memory that one attempt on an endpoint's connection borrows: for the request until it has left, and for the
// response from when it arrives. While an attempt waits it holds none, so the next one finds them in the processor's
// caches.
type buffer struct{ b []byte }

// The pools; for what they save see that of the client connections' side, in package http1.
var (
	outPool = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 2<<10)} }}
	inPool  = sync.Pool{New: func() any { return &buffer{make([]byte, wire.BufferSize)} }}
)

// putOut gives the request's memory back.
func (c *Conn) putOut() {
	if c.out == nil {
		return
	}
	if cap(c.out.b) > 64<<10 {
		c.out.b = make([]byte, 0, 2<<10)
	}
	outPool.Put(c.out)
	c.out = nil
}

// putIn gives the response's memory back.
func (c *Conn) putIn() {
	if c.in == nil {
		return
	}
	if len(c.in.b) > wire.BufferSize {
		c.in.b = make([]byte, wire.BufferSize)
	}
	inPool.Put(c.in)
	c.in = nil
}

// nothingYet gives the response's memory back where none of it is used.
func (c *Conn) nothingYet() {
	if c.end == 0 {
		c.putIn()
	}
}

package client

import "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"

// An attempt holds memory for the request until it has left, and for the response from when it arrives. While it waits it
// holds none.

// putOut gives the request's memory back.
func (c *Conn) putOut() {
	if c.out != nil {
		c.out.Put()
		c.out = nil
	}
}

// takeIn takes memory for the response, where there is none yet.
func (c *Conn) takeIn() {
	if c.buf == nil {
		c.buf = wire.GetBuffer()
		c.in = c.buf.Data()
	}
}

// putIn gives the response's memory back.
func (c *Conn) putIn() {
	if c.buf != nil {
		c.buf.Put()
		c.buf, c.in = nil, nil
	}
}

// nothingYet gives the response's memory back where none of it is used.
func (c *Conn) nothingYet() {
	if c.end == 0 {
		c.putIn()
	}
}

package client

import (
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// legs is the memory of one attempt on an endpoint's connection.
type legs struct {
	out []byte // the request as it is written
	in  []byte // the response as it is read
}

// legsPool: see the pool of the client connections' side, in package http1.
var legsPool = sync.Pool{New: func() any {
	return &legs{out: make([]byte, 0, 2<<10), in: make([]byte, wire.BufferSize)}
}}

func putLegs(l *legs) {
	if cap(l.out) > 64<<10 {
		l.out = make([]byte, 0, 2<<10)
	}
	if len(l.in) > wire.BufferSize {
		l.in = make([]byte, wire.BufferSize)
	}
	legsPool.Put(l)
}

package client

import (
	"errors"
	"io"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// tunnelEnd is a Conn after its endpoint answered 101. It implements exchange.Tunnel.
type tunnelEnd Conn

func (t *tunnelEnd) Write(p []byte) (int, error)   { return t.nc.Write(p) }
func (t *tunnelEnd) Close() error                  { return t.nc.SetDeadline(time.Unix(1, 0)) }
func (t *tunnelEnd) Buffered() []byte              { return t.in[t.head.Size:t.end] }
func (t *tunnelEnd) SetDeadline(d time.Time) error { return t.nc.SetDeadline(d) }

// Read implements exchange.Tunnel. What goes through a tunnel knows its own end, and many who speak TLS leave without a word.
func (t *tunnelEnd) Read(p []byte) (int, error) {
	n, err := t.nc.Read(p)
	if errors.Is(err, wire.ErrTorn) {
		err = io.EOF
	}
	return n, err
}

func (t *tunnelEnd) CloseWrite() error {
	if half, ok := t.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Persist implements wire.Persistent.
func (t *tunnelEnd) Persist(again func() bool) { t.persist.Store(&again) }

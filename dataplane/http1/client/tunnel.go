package client

import (
	"net"
	"time"
)

// tunnelEnd is a Conn after its endpoint answered 101. It implements exchange.Tunnel.
type tunnelEnd Conn

func (t *tunnelEnd) Read(p []byte) (int, error)    { return t.nc.Read(p) }
func (t *tunnelEnd) Write(p []byte) (int, error)   { return t.nc.Write(p) }
func (t *tunnelEnd) Close() error                  { return t.nc.SetDeadline(time.Unix(1, 0)) }
func (t *tunnelEnd) Buffered() []byte              { return t.legs.in[t.head.Size:t.end] }
func (t *tunnelEnd) Conn() *net.TCPConn            { return t.tcp }
func (t *tunnelEnd) SetDeadline(d time.Time) error { return t.nc.SetDeadline(d) }

func (t *tunnelEnd) CloseWrite() error {
	if half, ok := t.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

package listener

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// A Gate counts the client connections of all listeners together and turns away those above the limit.
type Gate struct {
	open    atomic.Int64
	limit   atomic.Int64
	leaving atomic.Int64 // connections that are being turned away
}

// SetLimit sets the most connections that may be open; 0 is no limit. Connections that are open stay.
func (g *Gate) SetLimit(n int) { g.limit.Store(int64(n)) }

// Open returns how many connections are open.
func (g *Gate) Open() int64 { return g.open.Load() }

// enter takes a place, if there is one.
func (g *Gate) enter() bool {
	if limit := g.limit.Load(); g.open.Add(1) > limit && limit > 0 {
		g.open.Add(-1)
		return false
	}
	return true
}

func (g *Gate) leave() { g.open.Add(-1) }

const (
	// maxLeaving bounds the connections that are turned away politely; what comes on top is just closed.
	maxLeaving = 256
	// leaveTime bounds how long a client may take to read why.
	leaveTime = time.Second
)

// turnAway answers 503 without having read anything, and closes. It takes a goroutine for up to leaveTime: closing at
// once would reset the connection when the request arrives, and the client would not see the answer (RFC 9112 §9.6).
func (g *Gate) turnAway(a *door.Arrival) {
	if g.leaving.Add(1) > maxLeaving {
		g.leaving.Add(-1)
		a.Reset()
		return
	}
	go func() {
		defer g.leaving.Add(-1)
		nc, err := a.Conn()
		if err != nil {
			a.Reset()
			return
		}
		farewell(nc, tooMany)
		_ = nc.Close()
	}()
}

// farewell sends the last that a client gets, and leaves it time to read that.
func farewell(nc *net.TCPConn, answer string) {
	_ = nc.SetDeadline(time.Now().Add(leaveTime))
	if _, err := io.WriteString(nc, answer); err != nil {
		return
	}
	_ = nc.CloseWrite()
	_, _ = io.CopyN(io.Discard, nc, 64<<10)
}

const tooManyBody = `{"type":"about:blank","title":"Service Unavailable","status":503,"reason":"too_many_connections"}` + "\n"

const tooMany = "HTTP/1.1 503 Service Unavailable\r\n" +
	"Content-Type: application/problem+json\r\n" +
	"Content-Length: 98\r\n" +
	"Cache-Control: no-store\r\n" +
	"Retry-After: 1\r\n" +
	"Connection: close\r\n\r\n" + tooManyBody

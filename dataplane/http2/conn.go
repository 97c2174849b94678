package http2

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

const (
	// maxStreams is how many requests of a connection run at once. A request counts until its handler has ended, whether
	// its stream was reset or not.
	maxStreams = 100
	// streamWindow is how much of a body a client may send ahead of who reads it.
	streamWindow = 64 << 10
	// connWindow is that of all streams of a connection together.
	connWindow = 1 << 20
	// maxHeadBytes bounds the fields of all requests that run on a connection together. More streams are refused, which is
	// no fault: their clients may ask again.
	maxHeadBytes = 384 << 10
	// maxStreamID is the last stream that there can be.
	maxStreamID = 1<<31 - 1
	// lingerTime bounds how long what a client still sends is dropped behind a GOAWAY.
	lingerTime = 2 * time.Second
)

var errClosed = errors.New("the connection is over")

// A conn is one client connection. Its reader is the goroutine that Serve was called on.
type conn struct {
	srv     *Server
	nc      net.Conn
	facts   exchange.Conn
	in      *wire.Input
	out     *wire.Output
	decoder *wire.Decoder
	timer   sock.Timer

	// of the reader
	settled bool        // the client's SETTINGS have come
	fresh   []*stream   // began in what was read last: none of them is served before all of it is looked at
	block   block       // the header block that is being read
	fields  wire.Fields // of that block
	calm    wire.Allowance
	resets  wire.Allowance
	farCut  bool // GOAWAY says that streams above last are not served

	completed atomic.Int64 // streams that came to their end
	aborted   atomic.Bool
	handlers  sync.WaitGroup

	mu        sync.Mutex
	last      uint32 // the highest stream that the client opened
	streams   map[uint32]*stream
	running   int // handlers, those of streams that were reset included
	headBytes int // of their requests
	idle      []*worker
	left      chan struct{} // closed when a handler ends; nil unless the reader waits for that
	window    wire.Window
	gone      wire.Recent   // streams that we reset lately: what is still on its way for them is no fault
	wakes     []*sock.Timer // to be woken when mu is unlocked
	deadlines deadlines
}

// newConn makes a conn; read was read from nc already.
func newConn(s *Server, nc net.Conn, facts *exchange.Conn, read []byte) *conn {
	c := &conn{srv: s, nc: nc, facts: *facts, streams: make(map[uint32]*stream)}
	c.facts.RemoteIP = facts.Remote.Addr().Unmap().AppendTo(nil)
	c.timer.Owner = c
	c.in, c.out, c.decoder = wire.NewInput(nc, read), wire.NewOutput(nc), wire.NewDecoder()
	c.window.Reset(connWindow)
	c.resetAllowances(exchange.Now())
	return c
}

// serve runs the connection to its end.
func (c *conn) serve() {
	limits := c.srv.options.Load().Limits.WithDefaults()
	c.out.Settings(
		h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: maxStreams},
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: streamWindow},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: uint32(limits.Bytes)},
		h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1},
	)
	c.out.WindowUpdate(0, connWindow-65535)
	c.mu.Lock()
	c.deadlines.start = exchange.Now() + exchange.Nanos(c.srv.options.Load().HeaderTimeout)
	c.arm(c.deadlines.start)
	c.mu.Unlock()
	err := c.preface()
	for err == nil {
		if err = c.frames(); err != nil {
			break
		}
		c.dispatch()
		c.out.Flush()
		err = c.more()
	}
	c.end(err)
}

// preface reads the client's connection preface. Ours leaves while it is awaited.
func (c *conn) preface() error {
	for {
		whole, ok := c.in.Preface()
		switch {
		case !ok:
			return h2.ConnectionError(h2.ErrCodeProtocol)
		case whole:
			return nil
		}
		c.out.Flush()
		if err := c.more(); err != nil {
			return err
		}
	}
}

// more waits until there is more to read, through what else happens meanwhile.
func (c *conn) more() error {
	if c.fields.Memory() > maxKept && !c.decoder.Open() {
		c.mu.Lock()
		if c.running == 0 {
			c.fields = wire.Fields{}
		}
		c.mu.Unlock()
	}
	for {
		err := c.in.Fill()
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return errClosed
		}
		_ = c.nc.SetReadDeadline(time.Time{}) // before it is asked who set it: a wake-up that comes meanwhile must stay
		if err := c.events(); err != nil {
			return err
		}
		c.out.Flush()
	}
}

// frames handles the frames that are there.
func (c *conn) frames() error {
	for {
		h, ok, err := c.in.Next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if err := c.frame(h); err != nil {
			return err
		}
	}
}

// end ends the connection. A fault of the client's is told with GOAWAY; nothing of its streams goes on.
func (c *conn) end(err error) {
	var fault h2.ConnectionError
	told := errors.As(err, &fault)
	if told {
		c.mu.Lock()
		last := c.last
		c.mu.Unlock()
		c.srv.log.V(1).Info("a connection was ended for what its client sent", "code", h2.ErrCode(fault).String(),
			"detail", c.in.Detail(), "client", c.facts.Remote.String())
		c.out.GoAway(last, h2.ErrCode(fault), "")
	}
	for _, s := range c.fresh {
		c.drop(s)
	}
	c.fresh = nil
	c.mu.Lock()
	for _, s := range c.streams {
		s.lose()
	}
	for _, w := range c.idle {
		close(w.next)
	}
	c.idle = nil
	c.deadlines.over = true
	c.unlock()
	if told || errors.Is(err, errDrained) {
		_ = c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
		c.out.Flush()
		c.linger()
	}
	c.out.Close(errClosed)
	_ = c.nc.SetDeadline(time.Unix(1, 0)) // whoever writes
	c.handlers.Wait()
	c.in.Close()
	if over, ok := c.nc.(interface{ NetConn() net.Conn }); ok && !told {
		_ = over.NetConn().Close()
		return
	}
	_ = c.nc.Close()
}

// linger reads and drops what the client still sends. Closing at once would answer its bytes with a reset, which can
// destroy our last frames before the client has read them.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || c.aborted.Load() || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	if c.aborted.Load() { // meanwhile, and its deadline is overwritten
		return
	}
	buf := sock.GetBuffer()
	defer buf.Put()
	for dropped := 0; dropped < 1<<20; {
		n, err := c.nc.Read(buf[:])
		if err != nil {
			return
		}
		dropped += n
	}
}

// abort ends everything at once.
func (c *conn) abort() {
	c.aborted.Store(true)
	_ = c.nc.SetDeadline(time.Unix(1, 0))
	c.out.Close(errClosed)
	c.mu.Lock()
	for _, s := range c.streams {
		s.lose()
	}
	c.unlock()
}

// unlock unlocks mu, and wakes those who wait for an endpoint on behalf of a stream that is gone. Their owners have locks
// of their own.
func (c *conn) unlock() {
	wakes := c.wakes
	c.wakes = nil
	c.mu.Unlock()
	for _, t := range wakes {
		t.Owner.Wake()
	}
}

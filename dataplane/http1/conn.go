package http1

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// The heads that are refused for how they came, not for what stands in them.
var (
	errHeadBytes   = &codec.HeadError{Status: 431, Reason: exchange.HeaderTooLarge, Detail: "the head is too large"}
	errHeadTimeout = &codec.HeadError{Status: 408, Reason: exchange.RequestTimeout, Detail: "the head did not arrive in time"}
)

// probeDelay is how long a connection must be silent until it is looked at once more; see step.
const probeDelay = 100 * time.Millisecond

// A conn is one client connection, served by one goroutine, or by one coroutine at a time.
type conn struct {
	srv     *Server
	nc      net.Conn
	tcp     wire.TCP        // nil over TLS
	sock    *loop.Socket    // tcp, while a Loop serves the connection; else nil
	ended   func()          // is called when the connection has ended
	carrier *wire.Carrier   // the connection below TLS; nil where there is none
	raw     syscall.RawConn // of either
	put     *wire.Writer    // to tcp; nil until it is needed
	moving  sync.Mutex      // for who changes nc, and for who uses it meanwhile
	facts   exchange.Conn
	timer   wire.Timer

	w        *work // nil while there is nothing to do
	fd       int   // the descriptor of plain TCP while step runs, else -1; over TLS the carrier keeps it, see hold
	reads    int   // in one turn of a Loop
	body     requestBody
	patience patience       // with the client, while a response is written
	started  exchange.Nanos // when the head that is being read began; 0 between requests
	silent   exchange.Nanos // since when it has been between requests, or open

	idle      atomic.Bool  // between requests, for Drain
	drainAt   atomic.Int64 // when a silent connection is closed while draining; 0: not draining
	aborted   atomic.Bool
	brief     atomic.Bool                 // an interim response is being written: its deadline is meant
	carries   atomic.Pointer[relayTunnel] // what it has become
	upstream  atomic.Pointer[wire.Timer]  // of the connection that the exchange waits on, for abort
	first     bool                        // nothing was served yet
	probed    bool                        // looked at again since it fell silent
	outside   bool                        // the next request is served outside step
	responded bool
	continued bool   // the client was told to send the body that it announced
	preface   []byte // of HTTP/2, with what came behind it: somebody else goes on with the connection
	closing   bool   // ends after this exchange
	linger    bool   // the client may still be sending: see lingeringClose
	torn      bool   // the response broke off, and only a reset can tell
	stuck     bool   // the client took no more: over TLS nothing can be written any more, not even the end
	headSize  int
}

func newConn(s *Server, nc net.Conn, facts *exchange.Conn) *conn {
	c := &conn{srv: s, nc: nc, facts: *facts, fd: -1, first: true}
	c.facts.RemoteIP = facts.Remote.Addr().Unmap().AppendTo(nil)
	c.timer.Owner = c
	c.body.c = c
	switch nc := nc.(type) {
	case wire.TCP:
		c.tcp = nc
		c.raw, _ = nc.SyscallConn() // its error is of a nil connection
	case Secured:
		c.carrier = nc.NetConn().(*wire.Carrier)
		c.carrier.Owner = c
		c.raw, _ = c.carrier.SyscallConn()
	}
	return c
}

// begin waits for the first request.
func (c *conn) begin() {
	c.idle.Store(true)
	c.silent = exchange.Now()
	c.timer.Set(c.silent + exchange.Nanos(c.srv.options.Load().HeaderTimeout))
}

// serve runs the connection to its end.
func (c *conn) serve() {
	step := c.step // one closure a connection, not one a call
	for !c.closing {
		if c.outside {
			c.outside = false
			c.serveOne()
			if c.closing || c.work() {
				continue
			}
		}
		if err := c.raw.Read(step); err != nil && !c.woken(err) {
			break
		}
	}
	if c.linger && !c.torn {
		c.lingeringClose()
	}
	if c.w != nil {
		putWork(c.w)
		c.w = nil
	}
}

// step is the callback of RawConn.Read: it runs when the connection may have something to read, and returns false to
// wait for more.
//
// Requests without a body are served right here, inside the callback. RawConn.Read arms the readiness notification
// once, at its start; what arrives later is remembered. So a short read tells that nothing is left, and waiting needs
// no further read that only says EAGAIN: one system call less a request: strace counts two receives and two sends, and
// one peek at the endpoint. What a short read does not tell is an end of stream that arrived together with the data,
// whose notification is used up. Therefore the first request of a connection is followed by another read, so is a part of
// a head, and a connection that stays silent for probeDelay is read once more.
//
// Over TLS a short read tells nothing: a record may be whole and more lie behind it. There one more read is made, which asks
// the kernel only where that may have more.
func (c *conn) step(fd uintptr) bool {
	for rest := false; ; {
		w := c.acquire()
		if !w.grow(c.headLimit()) {
			c.refuse(errHeadBytes)
			return true
		}
		room := w.in[w.end:]
		n, err := c.receive(int(fd), room, rest)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.park()
			return false
		case err != nil, n == 0:
			c.clientGone()
			return true
		}
		w.end += n
		first := c.first
		c.hold(int(fd))
		leave := c.work()
		c.hold(-1)
		if leave {
			return true
		}
		if c.sock != nil {
			if c.reads++; c.reads >= turnReads {
				c.park()
				c.sock.Again()
				return false
			}
		}
		rest = c.started == 0 && !c.mayHaveEnded(first)
		if rest && n < len(room) && c.tcp != nil {
			c.park()
			return false
		}
	}
}

// hold says which descriptor may be written to directly, -1: none.
func (c *conn) hold(fd int) {
	switch {
	case c.tcp != nil:
		c.fd = fd
	case c.carrier != nil:
		c.carrier.Hold(fd)
	}
}

// receive reads what is there, without waiting; of TLS only the rest of what came before where that is asked for.
func (c *conn) receive(fd int, p []byte, rest bool) (int, error) {
	switch {
	case c.carrier == nil:
		return wire.Recv(fd, p)
	case rest:
		return c.carrier.ReceiveRest(fd, c.nc, p)
	}
	return c.carrier.Receive(fd, c.nc, p)
}

func (c *conn) headLimit() int {
	return c.srv.options.Load().Limits.WithDefaults().Bytes + requestBuffer
}

// work serves the requests that are complete in the buffer. It returns true when the callback must be left: the
// connection ends, or a request needs to read from it.
func (c *conn) work() bool {
	for c.w != nil && c.w.start < c.w.end {
		w := c.w
		if c.started == 0 {
			c.started = exchange.Now()
			c.idle.Store(false)
		}
		x := &w.x
		size, err := codec.ParseRequest(&x.Request, w.in[w.start:w.end], w.scanned, c.srv.options.Load().Limits)
		if err != nil {
			if !c.speaksHTTP2() {
				c.refuse(err)
			}
			return true
		}
		if size == 0 {
			w.scanned = w.end - w.start
			return false
		}
		w.scanned = 0
		c.headSize = size
		if r := &x.Request; r.ContentLength != 0 || r.Upgrade {
			c.outside = true
			return true
		}
		c.serveOne()
		if c.closing {
			return true
		}
	}
	return false
}

// prefaceLine is how a client begins that knows that HTTP/2 is spoken here (RFC 9113 §3.3).
const prefaceLine = "PRI * HTTP/2.0\r\n"

// speaksHTTP2 reports whether what could not be parsed is the preface of HTTP/2, at the start of a connection over plain
// TCP, and there is somebody to go on with it. Over TLS the protocol was agreed upon.
func (c *conn) speaksHTTP2() bool {
	at := c.w.in[c.w.start:c.w.end]
	if c.srv.preface == nil || !c.first || c.tcp == nil || len(at) < len(prefaceLine) || string(at[:len(prefaceLine)]) != prefaceLine {
		return false
	}
	c.preface, c.closing = bytes.Clone(at), true
	return true
}

// serveOne serves the request whose head stands at the start of the buffer, and takes it off.
func (c *conn) serveOne() {
	w := c.w
	x := &w.x
	x.Conn, x.Downstream = &c.facts, c
	x.Record.Start = c.started
	c.timer.Set(0)
	c.first, c.probed, c.responded, c.continued = false, c.sock != nil, false, false
	w.start += c.headSize
	hasBody := x.Request.ContentLength != 0 // what a filter puts in its place may have none
	if hasBody {
		c.body.reset(w, x)
		x.Request.Body = &c.body
	}
	c.closing = x.Request.Close
	c.handle(x)
	if !c.responded {
		c.closing = true
	}
	if hasBody {
		if !c.body.settle() {
			c.closing, c.linger = true, true
		}
	}
	c.silent = x.Record.End
	x.Reset()
	c.started = 0
	if w.start == w.end {
		w.start, w.end = 0, 0
	}
}

// handle calls the handler and survives its panic: one request ends, not the process.
func (c *conn) handle(x *exchange.Exchange) {
	defer func() {
		if p := recover(); p != nil {
			c.closing = true
			c.srv.log.Error(fmt.Errorf("panic: %v", p), "a request ended in a panic; its connection is closed",
				"request_id", string(x.RequestID), "stack", string(debug.Stack()))
			if x.Response.Stream != nil {
				x.Response.Stream.Release()
				x.Response.Stream = nil
			}
			if !c.responded {
				c.srv.handler.Refuse(x, 500, exchange.Internal)
			}
		}
	}()
	c.srv.handler.Serve(x)
}

// refuse answers a head that cannot be served, and ends the connection.
func (c *conn) refuse(err error) {
	c.closing, c.linger = true, true
	c.timer.Set(0)
	head := &codec.HeadError{Status: 400, Reason: exchange.BadRequest}
	errors.As(err, &head)
	c.srv.log.V(1).Info("a request was refused", "status", head.Status, "reason", head.Reason, "detail", head.Detail,
		"client", c.facts.Remote.String())
	x := &c.w.x
	x.Conn, x.Downstream = &c.facts, c
	x.Record.Start = c.started
	x.Request.Close = true
	if x.Request.Protocol == 0 {
		x.Request.Protocol = exchange.HTTP11
	}
	c.responded = false
	c.srv.handler.Refuse(x, head.Status, head.Reason)
	x.Reset()
}

func (c *conn) acquire() *work {
	if c.w == nil {
		c.w = workPool.Get().(*work)
	}
	return c.w
}

// park makes the connection ready to wait: without a request begun, it gives its memory back.
func (c *conn) park() {
	options := c.srv.options.Load()
	if c.w.end > c.w.start {
		c.timer.Set(c.started + exchange.Nanos(options.HeaderTimeout))
		return
	}
	putWork(c.w)
	c.w = nil
	switch {
	case c.first: // the time for the first head runs already
	case !c.probed:
		c.timer.Set(c.silent + exchange.Nanos(min(probeDelay, options.IdleTimeout)))
	case c.sock != nil:
		c.timer.Set(c.silent + exchange.Nanos(options.IdleTimeout))
	default:
		c.timer.Set(exchange.Now() + exchange.Nanos(options.IdleTimeout))
	}
	c.idle.Store(true)
	if at := c.drainAt.Load(); at != 0 {
		c.timer.Set(exchange.Nanos(at))
	}
}

// woken decides what a time-out of waiting for a head means. It returns false where the connection ends.
func (c *conn) woken(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	_ = c.nc.SetDeadline(time.Time{}) // before it is asked who set it: a wake-up that comes meanwhile must stay
	if c.aborted.Load() {
		return false
	}
	due, now := c.timer.Expired(), exchange.Now()
	switch at := c.drainAt.Load(); {
	case due && c.overlooked(now):
		return true
	case at != 0 && c.idle.Load():
		c.timer.Set(exchange.Nanos(at)) // Drain woke it: what came meanwhile is served first
		return int64(now) < at
	case !due:
		return true
	case c.w != nil && c.started != 0:
		c.refuse(errHeadTimeout)
		return false
	case c.first || c.probed:
		return false
	default:
		c.probed = true
		c.timer.Set(now + exchange.Nanos(c.srv.options.Load().IdleTimeout))
		return true
	}
}

// overlookedTime is for how long after its time-out a head may still be completed by bytes that lie unread here.
const overlookedTime = time.Second

// overlooked reports whether the client was in time and this process was late: bytes lie unread when the time is over, as
// on a machine that is short of processors. What is sent later does not count, or a byte now and then would do for ever.
func (c *conn) overlooked(now exchange.Nanos) bool {
	began := c.started
	if began == 0 {
		began = c.silent
	}
	limit := c.srv.options.Load().HeaderTimeout
	if !c.first && c.started == 0 {
		limit = c.srv.options.Load().IdleTimeout
	}
	if now > began+exchange.Nanos(limit+overlookedTime) {
		return false
	}
	unread := false
	_ = c.raw.Control(func(fd uintptr) { unread = wire.Stale(fd) })
	return unread
}

// Wake implements wire.Sleeper.
func (c *conn) Wake() {
	c.moving.Lock()
	defer c.moving.Unlock()
	_ = c.nc.SetDeadline(time.Unix(1, 0))
}

// drain is told when to end in silence.
func (c *conn) drain(at exchange.Nanos) {
	c.drainAt.Store(int64(at))
	if c.idle.Load() {
		c.Wake()
	}
}

func (c *conn) abort() {
	c.aborted.Store(true)
	c.Wake()
	if t := c.upstream.Load(); t != nil {
		t.Owner.Wake() // one that carries another exchange by now takes no notice
	}
}

// Attach implements wire.Client.
func (c *conn) Attach(t *wire.Timer) { c.upstream.Store(t) }

// Aborted implements wire.Client.
func (c *conn) Aborted() bool { return c.aborted.Load() }

// close closes the connection. Over TLS the end is announced to who can still be told.
func (c *conn) close() {
	if c.carrier != nil && (c.torn || c.stuck || c.aborted.Load()) {
		_ = c.carrier.Close()
		return
	}
	_ = c.nc.Close()
}

// clientGone ends a connection that the client closed. A head that had begun is counted; nobody is left to answer.
func (c *conn) clientGone() { c.closing = true }

// lingerTime bounds how long the rest of a refused request is read and dropped.
const lingerTime = 2 * time.Second

// lingerBytes is how much of it is dropped as fast as it comes. What is beyond is taken in small pieces, with lingerPause
// between them: that holds up the client's writing, and not its reading of the response.
const (
	lingerBytes = 1 << 20
	lingerPause = 10 * time.Millisecond
)

// lingeringClose ends a connection on which the client may still be sending. Closing at once would answer its bytes
// with a reset, which can destroy our response before the client has read it (RFC 9112 §9.6).
func (c *conn) lingeringClose() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.aborted.Load() {
		return
	}
	c.timer.Set(0)
	_ = c.nc.SetDeadline(time.Now().Add(lingerTime))
	buf := wire.GetBuffer()
	defer buf.Put()
	for dropped := 0; ; {
		n, err := c.nc.Read(buf[:])
		if err != nil {
			return
		}
		if dropped += n; dropped >= lingerBytes {
			time.Sleep(lingerPause)
		}
	}
}

package client

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// expectPatience is how long an endpoint may be silent about a request that expects 100 Continue. Then the client is told
// to go on: RFC 9110 §10.1.1 lets it go on by itself, and some endpoints never say so.
const expectPatience = time.Second

// maxInterim bounds the 1xx responses in front of one final response.
const maxInterim = 16

var errHeadSize = errors.New("the response's head is too large")

// ErrStale says that a connection that was to be used again had ended, or had been sent something unasked. Nothing was
// sent on it.
var ErrStale = errors.New("the idle connection had ended")

// largeHead is what is read first where the last response had a large body: the head, and little of what splice(2) can
// move for less than two copies cost.
const largeHead = 2 << 10

// An Error says why a round trip has no response.
type Error = exchange.Failure

// Options say what a Conn needs of its owner.
type Options struct {
	Limits  codec.Limits // of response heads
	Sweeper *wire.Sweeper
	// Done is called exactly once after each RoundTrip, when the exchange on the connection is over: its body has ended
	// or was given up, its tunnel has ended, or there was no response. It may run on another goroutine. Where reusable is
	// false the owner closes the connection.
	Done func(c *Conn, reusable bool)
	Mark uint32 // for the owner to know the connection by; see Conn.Mark
}

// A Try bounds one round trip.
type Try struct {
	Deadline exchange.Nanos // for the final response's head; 0: none
	Idle     time.Duration  // between bytes of either body; 0: no limit
}

// A Conn is a connection to an endpoint that speaks HTTP/1.1. It carries one exchange at a time.
type Conn struct {
	nc      net.Conn
	tcp     wire.TCP     // nil over TLS
	watched wire.Watched // tcp, where it is that; else nil
	raw     syscall.RawConn
	put     *wire.Writer // to tcp; nil until it is needed
	step    func(fd uintptr) bool
	options Options
	timer   wire.Timer
	used    bool // carried an exchange before
	large   bool // the last body was larger than a buffer

	carrier *wire.Carrier // the connection below TLS; nil where there is none
	tidy    bool          // the last exchange left nothing behind
	closed  atomic.Bool
	persist atomic.Pointer[func() bool] // of a tunnel: see Persist
	peek    [1]byte

	// of the exchange that it carries now
	x       *exchange.Exchange
	try     Try
	out     *wire.Out // the request as it is written; nil when it has left
	buf     *wire.Buffer
	in      []byte // the response as it is read, in buf or longer than that; nil before it arrives
	end     int    // in[:end] was read
	scanned int
	taken   int // bytes of the request's body that leave with its head
	phase   phase
	rest    []byte // of the request, where a write was cut short
	err     *Error
	sent    bool
	early   bool // the response came before the request was sent whole
	interim int
	head    codec.ResponseHead
	body    responseBody
	upload  upload
}

type phase uint8

const (
	phaseSend   phase = iota
	phaseFinish       // the rest of the head must be written
	phaseAwait        // for the final response's head
)

// New makes a Conn of a fresh connection.
func New(nc net.Conn, o Options) *Conn {
	c := &Conn{nc: nc, options: o}
	c.timer.Owner = c
	c.body.c = c
	c.upload.c = c
	c.upload.timer.Owner = &c.upload
	c.attach(nc)
	o.Sweeper.Add(&c.timer)
	return c
}

// Close closes the connection. It is called once.
func (c *Conn) Close() {
	c.options.Sweeper.Remove(&c.timer)
	if c.carrier != nil {
		c.closeSecured()
		return
	}
	_ = c.nc.Close()
}

// Net is the connection to the endpoint.
func (c *Conn) Net() net.Conn { return c.nc }

// Mark is what Options said.
func (c *Conn) Mark() uint32 { return c.options.Mark }

// Stale peeks at an idle connection, without waiting: it is true where the endpoint closed it, or sent something unasked.
func (c *Conn) Stale() bool {
	if c.raw == nil {
		return false
	}
	if c.carrier != nil {
		return c.staleSecured()
	}
	ended := true
	if err := c.raw.Control(func(fd uintptr) { ended = wire.Stale(fd) }); err != nil {
		return true
	}
	return ended
}

// Wake implements wire.Sleeper.
func (c *Conn) Wake() { _ = c.nc.SetDeadline(time.Unix(1, 0)) }

// RoundTrip sends x.Request and fills in x.Response, whose Stream is c: the response's memory and the connection are
// the exchange's until Release. On an error, which is an *Error or ErrStale, there is no response, and Done has been called.
func (c *Conn) RoundTrip(x *exchange.Exchange, t Try) error {
	c.begin(x, t)
	for c.err == nil && c.head.Size == 0 {
		var err error
		switch {
		case c.phase == phaseFinish:
			err = c.finishHead()
		case c.raw != nil:
			err = c.raw.Read(c.step)
		default:
			err = c.advanceSlowly()
		}
		if err != nil {
			c.interrupted(err)
		}
	}
	if c.err != nil {
		return c.give(c.err)
	}
	c.timer.Set(0)
	r := &x.Response
	r.Stream = c
	// A refusal that does not wait for the rest of the request ends the client's connection too, and the client is told so
	// (RFC 9112 §9.6). An early answer of another kind may be one side of a conversation.
	r.Close = c.early && r.Status >= 300
	c.large = c.tcp != nil && c.head.Framing == codec.LengthBody && r.ContentLength > wire.BufferSize
	x.Record.UpstreamStatus = r.Status
	if r.Status == 101 {
		r.Tunnel = (*tunnelEnd)(c)
		return nil
	}
	c.body.reset()
	if c.head.Framing != codec.NoBody && (c.head.Framing != codec.LengthBody || r.ContentLength != 0) {
		r.Body = &c.body
	}
	return nil
}

func (c *Conn) begin(x *exchange.Exchange, t Try) {
	c.x, c.try, c.err, c.head = x, t, nil, codec.ResponseHead{}
	c.phase, c.end, c.scanned, c.taken = phaseSend, 0, 0, 0
	c.sent, c.early, c.interim = false, false, 0
	c.upload.state = uploadNone
	if client, ok := x.Downstream.(wire.Client); ok {
		client.Attach(&c.timer)
		if client.Aborted() { // before it could know whom to wake
			c.Wake()
		}
	}
	c.timer.Set(t.Deadline)
	r := &x.Request
	if b, ok := r.Body.(*exchange.Bytes); ok {
		b.Rewind() // another try may have sent it
	}
	framing := codec.NoBody
	if r.Body != nil {
		framing = codec.LengthBody
		if r.ContentLength < 0 {
			framing = codec.ChunkedBody
		}
	}
	c.out = wire.GetOut()
	out := codec.AppendRequestHead(c.out.B, r, framing)
	if r.Body != nil && !r.Expect {
		// Bytes that are at hand leave with the head. They are taken from the body only when they have left: a stale
		// connection costs nothing.
		if at := r.Body.Buffered(); len(at) > 0 {
			c.taken = len(at)
			out = codec.AppendData(out, at, framing)
		}
	}
	c.out.B = out
}

// give ends the exchange without a response. err is an *Error, or ErrStale.
func (c *Conn) give(err *Error) error {
	e := err
	if e == stalePlaceholder {
		c.finish(false)
		return ErrStale
	}
	e.Sent = c.sent
	c.finish(false) // waits for the upload: BytesIn is settled behind it
	_, again := c.x.Request.Body.(*exchange.Bytes)
	e.BodyRead = c.x.Record.BytesIn > 0 && !again
	return e
}

// stalePlaceholder stands for ErrStale where an *Error is kept.
var stalePlaceholder = &Error{Err: ErrStale}

// advance is the callback of RawConn.Read. The first call sends the request and waits for the response without a read
// that could only say EAGAIN: RawConn.Read arms the readiness notification before it calls, so the response's arrival is
// not missed. The connection is peeked at before. One that is used again must be silent. What a fresh one says unasked is
// read at once, for its arrival may have been announced before anybody waited; it is an early response.
func (c *Conn) advance(fd uintptr) bool {
	if c.phase == phaseSend {
		unasked := c.suspect() && wire.Stale(fd)
		if c.used && unasked {
			c.err = stalePlaceholder
			return true
		}
		c.early = unasked
		n, err := wire.Send(int(fd), c.out.B)
		c.sent = n > 0
		if n < len(c.out.B) {
			if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
				c.fail(exchange.UpstreamReset, err)
				return true
			}
			c.rest, c.phase = c.out.B[max(n, 0):], phaseFinish
			return true
		}
		c.headSent()
		if !unasked {
			return c.err != nil
		}
	}
	for {
		room, ok := c.room()
		if !ok {
			return true
		}
		n, err := wire.Recv(int(fd), room)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.nothingYet()
			return false
		case err != nil:
			c.fail(exchange.UpstreamReset, err)
			return true
		case n == 0:
			c.fail(exchange.UpstreamReset, io.ErrUnexpectedEOF)
			return true
		}
		c.end += n
		if c.parse() {
			return true
		}
	}
}

// suspect reports whether it must be asked whether something came unasked. It need not where a Loop would have been told,
// except that what arrived in the last moment may not have come to its ears: what could not be tried again is worth the
// system call.
func (c *Conn) suspect() bool {
	return !c.used || c.watched == nil || !c.watched.Quiet() || !c.x.Request.Method.Idempotent()
}

// advanceSlowly is advance for connections that are not plain TCP.
func (c *Conn) advanceSlowly() error {
	if c.phase == phaseSend {
		c.rest, c.phase = c.out.B, phaseFinish
		return nil
	}
	room, ok := c.room()
	if !ok {
		return nil
	}
	n, err := c.nc.Read(room)
	c.end += n
	if n > 0 && c.parse() {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.fail(exchange.UpstreamReset, err)
		return nil
	}
	return err
}

// finishHead writes what a first write left of the head.
func (c *Conn) finishHead() error {
	n, err := c.write(c.rest)
	c.sent = c.sent || n > 0
	c.rest = c.rest[n:]
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail(exchange.UpstreamReset, err)
			return nil
		}
		return err
	}
	c.headSent()
	return nil
}

// write writes to the endpoint, and may wait.
func (c *Conn) write(p []byte) (int, error) {
	if c.tcp == nil {
		return c.nc.Write(p)
	}
	if c.put == nil {
		c.put = wire.NewWriter(c.raw)
	}
	return c.put.Write(p)
}

// headSent goes on to the body, or to waiting for the response.
func (c *Conn) headSent() {
	c.phase = phaseAwait
	c.putOut()
	r := &c.x.Request
	switch {
	case r.Body == nil:
	case r.Expect:
		c.upload.state = uploadExpects
		by := exchange.Now() + exchange.Nanos(expectPatience)
		if c.try.Deadline != 0 {
			by = min(by, c.try.Deadline)
		}
		c.timer.Set(by)
	default:
		if c.taken > 0 {
			r.Body.Skip(c.taken)
		}
		if !r.Body.Ended() || r.ContentLength < 0 {
			c.upload.start(c.x)
		}
	}
}

// room is where the response's head is read to. It grows up to the limit of a head.
func (c *Conn) room() ([]byte, bool) {
	c.takeIn()
	if c.end == len(c.in) {
		if len(c.in) >= c.options.Limits.WithDefaults().Bytes+wire.BufferSize {
			c.fail(exchange.UpstreamProtocol, errHeadSize)
			return nil, false
		}
		longer := make([]byte, 2*len(c.in))
		copy(longer, c.in)
		c.in = longer
	}
	if c.large && c.end == 0 {
		return c.in[:largeHead], true
	}
	return c.in[c.end:], true
}

// parse reads heads until the final one is complete. It returns true when waiting is over.
func (c *Conn) parse() bool {
	for {
		r := &c.x.Response
		head, err := codec.ParseResponse(r, c.x.Request.Method, c.in[:c.end], c.scanned, c.options.Limits)
		if err != nil {
			c.fail(exchange.UpstreamProtocol, err)
			return true
		}
		if head.Size == 0 {
			c.scanned = c.end
			return false
		}
		c.scanned = 0
		if r.Status >= 200 || r.Status == 101 {
			if r.Status == 101 && (!c.askedFor(r) || c.upload.state != uploadNone) {
				c.fail(exchange.UpstreamProtocol, errors.New("101 was not asked for"))
				return true
			}
			c.head = head
			c.early = c.early || !c.upload.sending()
			return true
		}
		if c.interim++; c.interim > maxInterim {
			c.fail(exchange.UpstreamProtocol, errors.New("too many interim responses"))
			return true
		}
		c.passInterim(r)
		c.end = copy(c.in, c.in[head.Size:c.end])
		r.Header.Reset(nil)
		r.Reason = nil
		if c.err != nil {
			return true
		}
		if c.end == 0 {
			return false
		}
	}
}

// askedFor reports whether a 101 switches to what the request asked for, and says so (RFC 9110 §7.8).
func (c *Conn) askedFor(r *exchange.Response) bool {
	list := r.Header.Value(exchange.Upgrade)
	if !c.x.Request.Upgrade || len(list) == 0 {
		return false
	}
	for len(list) > 0 {
		var protocol []byte
		protocol, list = exchange.NextToken(list)
		if !c.x.Request.Header.Token(exchange.Upgrade, string(protocol)) {
			return false
		}
	}
	return true
}

// interrupted handles the error of a wait: a time-out of ours, or a connection that was closed under it.
func (c *Conn) interrupted(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.fail(exchange.UpstreamReset, err)
		return
	}
	_ = c.nc.SetDeadline(time.Time{}) // before it is asked who set it: a wake-up that comes meanwhile must stay
	if failed := c.upload.clientFault(); failed != nil {
		c.failBody(failed)
		return
	}
	if c.aborted() {
		c.fail(exchange.ClientReset, net.ErrClosed)
		return
	}
	if c.timer.Expired() || c.upload.timer.Expired() && c.upload.state == uploadRuns {
		if c.upload.state == uploadExpects && (c.try.Deadline == 0 || exchange.Now() < c.try.Deadline) {
			c.goOn()
			return
		}
		c.fail(exchange.UpstreamTimeout, os.ErrDeadlineExceeded)
	}
	// Else the deadline moved while the sweeper was at it.
}

// idleDeadline is when a byte must have come or gone.
func (c *Conn) idleDeadline() exchange.Nanos {
	if c.try.Idle == 0 {
		return 0
	}
	return exchange.Now() + exchange.Nanos(c.try.Idle)
}

// aborted reports whether the client's connection was cut off, so that the exchange is for nobody.
func (c *Conn) aborted() bool {
	client, ok := c.x.Downstream.(wire.Client)
	return ok && client.Aborted()
}

func (c *Conn) fail(reason exchange.Reason, err error) {
	if failed := c.upload.clientFault(); failed != nil {
		c.failBody(failed)
		return
	}
	c.err = &Error{Reason: reason, Err: err}
}

// failBody fails with what went wrong on the client's side of an upload.
func (c *Conn) failBody(err error) { c.err = &Error{Reason: bodyReason(err), Err: err} }

func bodyReason(err error) exchange.Reason {
	var failure *exchange.Failure
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return exchange.ClientReset
}

// Release implements exchange.Stream.
func (c *Conn) Release() {
	reusable := c.head.KeepAlive && !c.early && c.x.Response.Status != 101 && c.body.clean()
	c.finish(reusable)
}

// finish ends the exchange and hands the connection back.
func (c *Conn) finish(reusable bool) {
	if !c.upload.stop(c.x) {
		reusable = false
	}
	if client, ok := c.x.Downstream.(wire.Client); ok {
		client.Attach(nil)
	}
	c.timer.Set(0)
	c.putOut()
	c.putIn()
	c.rest = nil
	c.used, c.tidy = true, reusable
	c.options.Done(c, reusable)
}

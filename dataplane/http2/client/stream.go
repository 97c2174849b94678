package client

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/chunks"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/pool"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// expectPatience is how long an endpoint may be silent about a request that expects 100 Continue, until the client is told
// to go on (RFC 9110 §10.1.1).
const expectPatience = time.Second

// An interim is a 1xx response.
type interim struct {
	status int
	header *exchange.Header
}

// A stream carries one exchange. Its memory is used again when that is over.
type stream struct {
	c         *Conn
	timer     sock.Timer
	wake      chan struct{} // something has changed, or the time is over
	x         *exchange.Exchange
	try       Try
	method    exchange.Method
	id        uint32
	webSocket bool
	early     bool // the response came before the request was sent whole
	whole     int  // bytes of the request's body that left with the head, and were not taken from the client yet
	upload    upload
	body      responseBody
	tunnel    tunnel

	// What follows is guarded by c.mu.
	open     bool // it is one of c.streams
	answered bool // the final response's head is there
	ended    bool // the endpoint has ended it
	sent     bool // we have
	bodiless bool // the response has no body, whatever it says
	blocked  bool // the upload waits for a window
	err      *Error
	interim  []interim
	interims int
	head     *wire.Fields // of response, which lies in it
	response exchange.Response
	trailer  *wire.Fields
	trailed  bool  // there is a trailer
	length   int64 // that was announced; -1: none
	received int64
	unread   chunks.Queue
	recv     int  // what the endpoint may send; at first it need not have read firstWindow yet, and has the default
	grown    bool // it counts in c.grown
	padding  int  // that came with what may be sent
	window   int  // what may be sent
}

// take returns a stream for an exchange.
func (c *Conn) take(x *exchange.Exchange, t Try) *stream {
	c.mu.Lock()
	var s *stream
	if n := len(c.free) - 1; n >= 0 {
		s = c.free[n]
		c.free[n] = nil
		c.free = c.free[:n]
	}
	c.mu.Unlock()
	if s == nil {
		s = &stream{c: c, wake: make(chan struct{}, 1), head: &wire.Fields{}, trailer: &wire.Fields{}}
		s.timer.Owner = s
		s.upload.init(s)
		s.body.s = s
		s.tunnel.s = s
		c.options.Sweeper.Add(&s.timer)
	}
	s.x, s.try, s.method = x, t, x.Request.Method
	s.early, s.whole, s.webSocket = false, 0, false
	return s
}

// maxKept is how much memory a stream keeps for the fields of the next response.
const maxKept = 8 << 10

// recycle keeps a stream that is over for another exchange. The caller holds c.mu.
func (s *stream) recycle() {
	c := s.c
	s.unread.Drop()
	s.x, s.err, s.interim = nil, nil, nil
	s.answered, s.ended, s.sent, s.bodiless, s.blocked = false, false, false, false, false
	s.interims, s.received, s.length, s.padding = 0, 0, -1, 0
	s.trailed = false
	if s.grown {
		s.grown, c.grown = false, c.grown-1
	}
	s.response.Header.Reset(nil)
	if s.head.Memory() > maxKept {
		s.head = &wire.Fields{}
	}
	if s.trailer.Memory() > maxKept {
		s.trailer = &wire.Fields{}
	}
	if c.err != nil || len(c.free) == maxFree {
		c.options.Sweeper.Remove(&s.timer)
		return
	}
	c.free = append(c.free, s)
}

// signal wakes who waits for the stream.
func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Wake implements sock.Sleeper.
func (s *stream) Wake() {
	s.signal()
	s.upload.signal()
}

// fail ends the stream without the endpoint. The caller holds c.mu.
func (s *stream) fail(err *Error) {
	if s.err == nil && (!s.answered || !s.ended) {
		if s.answered {
			err = &Error{Reason: exchange.UpstreamTruncated, Sent: true, Err: err.Err}
		}
		s.err = err
	}
	s.leave()
	s.signal()
	s.upload.signal()
}

// closed notes that both sides have ended the stream, where they have: its place is free. The caller holds c.mu.
func (s *stream) closed() {
	if s.sent && s.ended {
		s.leave()
	}
}

// leave takes the stream off its connection. The caller holds c.mu.
func (s *stream) leave() {
	if s.open {
		s.open = false
		delete(s.c.streams, s.id)
	}
}

// abort ends the stream for what the endpoint did on it. The caller holds c.mu.
func (s *stream) abort(code http2.ErrCode, text string) {
	c := s.c
	c.out.End(output.AppendReset(c.out.Begin(), s.id, code))
	s.fail(&Error{Reason: exchange.UpstreamProtocol, Sent: true, Err: errors.New("HTTP/2: " + text)})
}

// wasReset is what an RST_STREAM of the endpoint means. The caller holds c.mu.
func (s *stream) wasReset(code http2.ErrCode) {
	s.fail(&Error{
		Reason: exchange.UpstreamReset, Sent: s.answered || code != http2.ErrCodeRefusedStream,
		Err: fmt.Errorf("the endpoint reset the stream: %v", code),
	})
}

// RoundTrip sends x.Request on a stream that was reserved, and fills in x.Response, whose Stream must be released. On an
// error, which is an *Error or pool.ErrLeft, there is no response, and nothing of the exchange is in use any more.
func (c *Conn) RoundTrip(x *exchange.Exchange, t Try) error {
	s := c.take(x, t)
	if client, ok := x.Downstream.(sock.Client); ok {
		client.Attach(&s.timer)
		if client.Aborted() { // before it could know whom to wake
			s.signal()
		}
	}
	s.timer.Set(t.Deadline)
	failure, err := s.begin()
	if err == nil && failure == nil {
		failure = s.await()
	}
	if err == nil && failure == nil {
		s.respond()
		return nil
	}
	s.finish(true)
	if err != nil {
		return err
	}
	// A copy: what the stream failed with may be known to others.
	_, again := x.Request.Body.(*exchange.Bytes)
	return &Error{Reason: failure.Reason, Sent: failure.Sent, BodyRead: x.Record.BytesIn > 0 && !again, Err: failure.Err}
}

// begin opens the stream and sends the head, with what is at hand of the body.
func (s *stream) begin() (*Error, error) {
	c, r := s.c, &s.x.Request
	if r.Upgrade && r.Header.Token(exchange.Upgrade, "websocket") {
		s.webSocket = true
		if err := s.awaitSettings(); err != nil {
			c.release()
			return err, nil
		}
	}
	if b, ok := r.Body.(*exchange.Bytes); ok {
		b.Rewind() // another try may have sent it
	}
	var at []byte
	if r.Body != nil && !r.Expect {
		at = r.Body.Buffered()
	}
	c.openMu.Lock()
	c.mu.Lock()
	c.reserved--
	if c.away || c.err != nil {
		c.mu.Unlock()
		c.openMu.Unlock()
		c.change()
		return nil, pool.ErrLeft
	}
	s.id = c.nextID
	c.nextID += 2
	if c.nextID > 1<<31-3 {
		c.leaving = true
	}
	s.window, s.recv = c.initial, streamWindow
	n := max(0, min(len(at), s.window, c.window, output.MaxFrame))
	s.window -= n
	c.window -= n
	whole := r.Body != nil && r.ContentLength >= 0 && int64(n) == r.ContentLength
	s.sent = r.Body == nil && !s.webSocket || whole
	end := s.sent
	s.open = true
	c.streams[s.id] = s
	c.mu.Unlock()
	c.request = c.request[:0]
	if s.id == 1 {
		c.request = append(c.request, output.NoTable)
	}
	c.request = output.AppendRequest(c.request, r, c.secure, s.webSocket)
	b := output.AppendHeaders(c.out.Begin(), c.request, s.id, end && n == 0)
	if n > 0 {
		b = output.AppendData(b, at[:n], s.id, end)
	}
	c.out.End(b)
	c.openMu.Unlock()
	c.out.Flush()
	switch {
	case end:
		s.whole = n
	case s.webSocket:
	case r.Expect:
		s.upload.state = uploadExpects
		by := exchange.Now() + exchange.Nanos(expectPatience)
		if s.try.Deadline != 0 {
			by = min(by, s.try.Deadline)
		}
		s.timer.Set(by)
	default:
		if n > 0 {
			r.Body.Skip(n)
		}
		s.upload.start(s.x)
	}
	return nil, nil
}

// release gives a reserved stream back.
func (c *Conn) release() {
	c.mu.Lock()
	c.reserved--
	c.mu.Unlock()
	c.change()
}

// awaitSettings waits until it is known whether the endpoint takes WebSockets (RFC 8441 §3).
func (s *stream) awaitSettings() *Error {
	c := s.c
	c.out.Flush()
	for {
		select {
		case <-c.ready:
			c.mu.Lock()
			extended, err := c.extended, c.err
			c.mu.Unlock()
			switch {
			case err != nil:
				return &Error{Reason: exchange.UpstreamReset, Err: err}
			case !extended:
				return &Error{Reason: exchange.UpstreamProtocol, Err: errors.New("the endpoint takes no WebSocket over HTTP/2 (RFC 8441)")}
			}
			return nil
		case <-s.wake:
		}
		if err := s.interrupted(); err != nil {
			err.Sent = false
			return err
		}
	}
}

// await waits for the final response's head, and passes interim responses on.
func (s *stream) await() *Error {
	for {
		c := s.c
		c.mu.Lock()
		var early interim
		if len(s.interim) > 0 {
			early = s.interim[0]
			s.interim = s.interim[1:]
		}
		answered, err := s.answered, s.err
		c.mu.Unlock()
		switch {
		case early.status != 0:
			s.passInterim(early)
			continue
		case answered:
			return nil
		}
		if fault := s.upload.clientFault(); fault != nil {
			return s.failBody(fault, err == nil || err.Sent)
		}
		if err != nil {
			return err
		}
		if err := s.interrupted(); err != nil {
			return err
		}
		<-s.wake
	}
}

// interrupted says whether waiting for the head is over because of us or of the client.
func (s *stream) interrupted() *Error {
	switch {
	case s.aborted():
		return &Error{Reason: exchange.ClientReset, Sent: true, Err: net.ErrClosed}
	case s.upload.stalled.Load():
		return &Error{Reason: exchange.UpstreamTimeout, Sent: true, Err: os.ErrDeadlineExceeded}
	case !s.timer.Expired():
		return nil
	case s.upload.state == uploadExpects && (s.try.Deadline == 0 || exchange.Now() < s.try.Deadline):
		s.goOn()
		return nil
	}
	return &Error{Reason: exchange.UpstreamTimeout, Sent: true, Err: os.ErrDeadlineExceeded}
}

// aborted reports whether the client's connection was cut off, so that the exchange is for nobody.
func (s *stream) aborted() bool {
	client, ok := s.x.Downstream.(sock.Client)
	return ok && client.Aborted()
}

// failBody is a failure for what went wrong on the client's side of an upload.
func (s *stream) failBody(err error, sent bool) *Error {
	reason := exchange.ClientReset
	var failure *exchange.Failure
	if errors.As(err, &failure) {
		reason = failure.Reason
	}
	return &Error{Reason: reason, Sent: sent, Err: err}
}

// passInterim passes a 1xx response on. 100 is passed only to who asked for it.
func (s *stream) passInterim(i interim) {
	if i.status == 100 {
		s.goOn()
		return
	}
	i.header.DelID(exchange.ContentLength)
	i.header.DelID(exchange.Trailer)
	_ = s.x.Downstream.Interim(s.x, i.status, i.header) // a client that is gone is noticed by the response itself
}

// goOn tells a client that expects it to send the body, and starts to upload it.
func (s *stream) goOn() {
	if s.upload.state != uploadExpects {
		return
	}
	s.timer.Set(s.try.Deadline)
	_ = s.x.Downstream.Interim(s.x, 100, nil)
	s.upload.start(s.x)
}

// respond fills in the response.
func (s *stream) respond() {
	s.timer.Set(0)
	if s.whole > 0 {
		s.x.Request.Body.Skip(s.whole)
	}
	r := &s.x.Response
	s.early = !s.upload.sending()
	r.Header, s.response.Header = s.response.Header, r.Header
	r.Status, r.Protocol, r.Stream = s.response.Status, exchange.HTTP2, s
	r.Reason, r.ContentLength = nil, s.response.ContentLength
	r.Close = s.early && r.Status >= 300 && s.x.Request.Protocol != exchange.HTTP2
	s.x.Record.UpstreamStatus = r.Status
	if s.webSocket && r.Status/100 == 2 {
		s.tunnel.begin(r)
		return
	}
	s.body.reset()
	s.c.mu.Lock()
	none := s.bodiless || s.ended && s.received == 0 && !s.trailed
	s.c.mu.Unlock()
	switch {
	case r.Status == 204:
		r.ContentLength = 0
	case none && !s.bodiless:
		r.ContentLength = 0
	case !none:
		r.Body = &s.body
		if s.x.Request.Protocol == exchange.HTTP11 && r.Header.Has(exchange.Trailer) {
			r.ContentLength = -1 // where HTTP/1.1 has a length, it has no place for a trailer; the length is watched here
		}
	}
}

// Release implements exchange.Stream.
func (s *stream) Release() {
	done := s.c.options.Done
	s.finish(false)
	if done != nil {
		done()
	}
}

// finish ends the exchange: what is not over of the stream is reset.
func (s *stream) finish(failed bool) {
	s.upload.stop(s.x, failed)
	if client, ok := s.x.Downstream.(sock.Client); ok {
		client.Attach(nil)
	}
	s.timer.Set(0)
	s.body.drop()
	c := s.c
	c.mu.Lock()
	if s.open {
		if !s.ended || !s.sent {
			c.out.End(output.AppendReset(c.out.Begin(), s.id, http2.ErrCodeCancel))
		}
		s.leave()
	}
	leaving := c.leaving
	s.recycle()
	c.mu.Unlock()
	c.out.Flush()
	if leaving {
		c.change()
	}
}

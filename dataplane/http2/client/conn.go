package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/pool"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

const (
	// streamWindow is how much of one response may lie here unread: that many bytes in each round trip to the endpoint. It is
	// the protocol's default, which holds before an endpoint has read any settings.
	streamWindow = 64<<10 - 1
	// firstWindow is how much of a response may come before any of it was read, so that clients that read nothing cost little.
	firstWindow = 16 << 10
	// maxGrown is how many streams of a connection have all of streamWindow, so that clients that read only a little cost little.
	maxGrown = 16
	// connWindow is how much may be on its way on a connection. It is given back as it arrives, so that a client that does not
	// read holds up no other.
	connWindow = 1 << 20
	// assumedStreams is how many streams are opened before the endpoint has said how many it takes.
	assumedStreams = 100
	// maxStreams is how many streams a connection has at most, whatever the endpoint takes.
	maxStreams = 1000
	// maxNuisance is how many frames a second may come that bring nothing.
	maxNuisance = 10000
	// maxOutlet is how much may wait to be sent before the endpoint has to take some of it: answers to frames beyond it end
	// the connection.
	maxOutlet = 1 << 20
	// maxFree is how many streams a connection keeps for later ones.
	maxFree = 128
	// readBuffer is what is read from the socket at once.
	readBuffer = 16 << 10
	// pingAfter is after how much silence with streams open an endpoint is asked whether it lives, and how long it has to
	// answer.
	pingAfter = 15 * time.Second
	// pingEvery is how long it is not asked again then: servers of gRPC end connections on which they are asked more often
	// (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5 minutes).
	pingEvery = 5*time.Minute + 10*time.Second
)

// An Error says why a round trip has no response.
type Error = exchange.Failure

// Options say what connections need of their owner.
type Options struct {
	Sweeper *sock.Sweeper
	Limits  codec.Limits // of response heads, whose bytes are counted as RFC 9113 §6.5.2 has it
	// Done is called when the exchange of a round trip that had a response is over. It may run on any goroutine.
	Done func()
}

// A Conn is a connection to an endpoint that speaks HTTP/2.
type Conn struct {
	nc      net.Conn
	raw     syscall.RawConn // of the TCP connection; nil where there is none
	secure  bool
	options Options
	gone    func(pool.Conn) // it may take no new streams; no lock is held
	out     output.Outlet

	// of the goroutine that reads
	in       *bufio.Reader
	framer   *http2.Framer
	decoder  *wire.Decoder
	fields   *wire.Fields      // of the block that is being read
	response exchange.Response // that they are
	trailer  bool
	blockID  uint32
	blockEnd bool // the block ends its stream

	openMu  sync.Mutex // streams are opened one after the other: their numbers must leave in order
	request []byte     // the fields of the one that is being opened

	lastRead atomic.Int64 // exchange.Nanos
	nuisance atomic.Int32 // frames since the last sweep that brought nothing

	mu       sync.Mutex
	peek     func(fd uintptr) // one closure a connection, not one a call
	peekHead [output.FrameHead]byte
	peeked   bool
	streams  map[uint32]*stream
	free     []*stream
	nextID   uint32
	reserved int // streams that will be opened
	most     int // streams that the endpoint takes at once
	window   int // what may be sent on the connection
	initial  int // what may be sent on a new stream
	recv     int // what the endpoint may send
	grown    int // streams that may send all of streamWindow
	settled  bool
	ready    chan struct{}  // closed when it is settled, or dead
	extended bool           // extended CONNECT is allowed
	leaving  bool           // no new streams, but for those that are reserved
	away     bool           // the endpoint takes none
	pinged   exchange.Nanos // a PING that was not answered yet; 0: none
	asked    exchange.Nanos // the last one
	idle     uint32         // rounds without a stream
	err      error          // the connection is dead
}

// New makes a Conn of a fresh connection, plain TCP or TLS, and starts what runs on it. gone is called
// when it may take no new streams any more.
func New(nc net.Conn, o Options, gone func(pool.Conn)) *Conn {
	c := &Conn{
		nc: nc, options: o, gone: gone, streams: make(map[uint32]*stream), fields: &wire.Fields{}, decoder: wire.NewDecoder(), nextID: 1, ready: make(chan struct{}),
		most: assumedStreams, window: streamWindow, initial: streamWindow, recv: connWindow,
	}
	if under, ok := nc.(interface{ NetConn() net.Conn }); ok {
		c.secure = true
		nc = under.NetConn()
	}
	if sys, ok := nc.(syscall.Conn); ok {
		if raw, err := sys.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	c.peek = c.peekAt
	c.lastRead.Store(int64(exchange.Now()))
	c.out.Init(c.nc, c.drained)
	c.in = bufio.NewReaderSize(c.nc, readBuffer)
	c.framer = http2.NewFramer(io.Discard, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(output.MaxFrame)
	c.out.End(c.appendPreface(c.out.Begin())) // leaves with the first request
	go c.out.Run()
	go c.read()
	return c
}

func (c *Conn) appendPreface(b []byte) []byte {
	b = append(b, http2.ClientPreface...)
	settings := [...]http2.Setting{
		{ID: http2.SettingEnablePush, Val: 0},
		{ID: http2.SettingInitialWindowSize, Val: firstWindow},
		{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.options.Limits.WithDefaults().Bytes)},
	}
	b = output.AppendFrame(b, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = output.AppendUint32(append(b, byte(s.ID>>8), byte(s.ID)), s.Val)
	}
	return output.AppendWindowUpdate(b, 0, connWindow-streamWindow)
}

// Reserve implements pool.Conn.
func (c *Conn) Reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || len(c.streams)+c.reserved >= c.most || c.out.Waiting() > maxOutlet/2 {
		return false
	}
	if len(c.streams) == 0 && c.reserved == 0 && c.ending() {
		return false
	}
	c.reserved++
	c.idle = 0
	return true
}

// ending peeks at a connection that had nothing to do: its end may have arrived, and not been read yet. The caller holds
// c.mu.
func (c *Conn) ending() bool {
	if c.raw == nil {
		return false
	}
	err := c.raw.Control(c.peek)
	return err != nil || c.peeked
}

func (c *Conn) peekAt(fd uintptr) {
	n, err := sock.Peek(int(fd), c.peekHead[:])
	c.peeked = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR ||
		n == output.FrameHead && !c.secure && http2.FrameType(c.peekHead[3]) == http2.FrameGoAway
}

// Load implements pool.Conn.
func (c *Conn) Load() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams) + c.reserved
}

// read reads frames until the connection ends.
func (c *Conn) read() {
	for {
		f, err := c.framer.ReadFrame()
		if err == nil {
			c.lastRead.Store(int64(exchange.Now()))
			err = c.handle(f)
		}
		if err != nil {
			c.broken(err)
			return
		}
		if c.in.Buffered() < output.FrameHead {
			c.out.Flush()
		}
	}
}

// A violation ends a connection.
type violation struct {
	code http2.ErrCode
	text string
}

func (v *violation) Error() string { return "HTTP/2: " + v.text }

func violates(code http2.ErrCode, text string) error { return &violation{code, text} }

// broken ends the connection for what reading it came to.
func (c *Conn) broken(err error) {
	var code http2.ErrCode
	var v *violation
	var ce http2.ConnectionError
	var se http2.StreamError
	switch {
	case errors.As(err, &v):
		code = v.code
	case errors.As(err, &ce):
		code = http2.ErrCode(ce)
	case errors.As(err, &se):
		code = se.Code // what it was a frame of is not known: the decoder of fields may be out of step
	case errors.Is(err, http2.ErrFrameTooLarge):
		code = http2.ErrCodeFrameSize
	default:
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		c.die(err)
		return
	}
	c.out.End(output.AppendGoAway(c.out.Begin(), code))
	c.out.Flush()
	c.die(err)
}

// handle does what one frame asks for. An error ends the connection.
func (c *Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.HeadersFrame:
		return c.headers(f)
	case *http2.ContinuationFrame:
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.reset(f)
	case *http2.SettingsFrame:
		if err := c.bother(); err != nil || f.IsAck() {
			return err
		}
		return c.settings(f)
	case *http2.PingFrame:
		if err := c.bother(); err != nil || f.IsAck() {
			return err
		}
		b := output.AppendFrame(c.out.Begin(), 8, http2.FramePing, http2.FlagPingAck, 0)
		c.out.End(append(b, f.Data[:]...))
		return nil
	case *http2.GoAwayFrame:
		c.goAway(f)
		return c.bother()
	case *http2.PushPromiseFrame:
		return violates(http2.ErrCodeProtocol, "a push was not asked for")
	}
	return c.bother()
}

// bother counts a frame that brings nothing.
func (c *Conn) bother() error {
	if c.nuisance.Add(1) > maxNuisance || c.out.Waiting() > maxOutlet {
		return violates(http2.ErrCodeEnhanceYourCalm, "too many frames that bring nothing")
	}
	return nil
}

func (c *Conn) settings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled {
		c.most = maxStreams
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingMaxConcurrentStreams:
			c.most = int(min(s.Val, maxStreams))
		case http2.SettingInitialWindowSize:
			grown := int(s.Val) - c.initial
			c.initial = int(s.Val)
			for _, st := range c.streams {
				if st.window += grown; st.window > math.MaxInt32 {
					return violates(http2.ErrCodeFlowControl, "a window is too large")
				}
			}
		case http2.SettingEnableConnectProtocol:
			c.extended = c.extended || s.Val == 1
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !c.settled {
		c.settled = true
		close(c.ready)
	}
	c.wakeBlocked()
	c.out.End(output.AppendFrame(c.out.Begin(), 0, http2.FrameSettings, http2.FlagSettingsAck, 0))
	return nil
}

// wakeBlocked wakes the uploads that waited for a window. The caller holds c.mu.
func (c *Conn) wakeBlocked() {
	for _, s := range c.streams {
		if s.blocked {
			s.blocked = false
			s.upload.signal()
		}
	}
}

// drained is called when the socket took what waited, or never will.
func (c *Conn) drained(err error) {
	if err != nil {
		c.die(err)
		return
	}
	c.mu.Lock()
	c.wakeBlocked()
	c.mu.Unlock()
}

func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int(f.Increment); c.window > math.MaxInt32 {
			return violates(http2.ErrCodeFlowControl, "the connection's window is too large")
		}
		c.wakeBlocked()
		return nil
	}
	s, err := c.find(f.StreamID)
	if s == nil {
		return err
	}
	if s.window += int(f.Increment); s.window > math.MaxInt32 {
		s.abort(http2.ErrCodeFlowControl, "its window is too large")
		return nil
	}
	if s.blocked {
		s.blocked = false
		s.upload.signal()
	}
	return nil
}

// find returns the stream of a number, or nil where it is over. One that was never opened is an error. The caller holds
// c.mu.
func (c *Conn) find(id uint32) (*stream, error) {
	if id%2 == 0 || id >= c.nextID {
		return nil, violates(http2.ErrCodeProtocol, "a frame belongs to no stream")
	}
	return c.streams[id], nil
}

func (c *Conn) reset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	s, err := c.find(f.StreamID)
	if s != nil {
		s.wasReset(f.ErrCode)
	}
	c.mu.Unlock()
	if s == nil && err == nil {
		return c.bother()
	}
	return err
}

// goAway lets the streams go on that the endpoint will answer.
func (c *Conn) goAway(f *http2.GoAwayFrame) {
	c.mu.Lock()
	c.leaving, c.away = true, true
	for id, s := range c.streams {
		if id > f.LastStreamID {
			s.fail(&Error{Reason: exchange.UpstreamReset, Err: fmt.Errorf("the endpoint left without answering (GOAWAY, %v)", f.ErrCode)})
		}
	}
	c.mu.Unlock()
	c.change()
}

// change tells the owner that the connection's room has changed, and ends the connection where it has nothing to do any
// more.
func (c *Conn) change() {
	c.mu.Lock()
	over := c.leaving && c.err == nil && len(c.streams) == 0 && c.reserved == 0
	c.mu.Unlock()
	if over {
		c.shut()
	}
	c.gone(c)
}

// Retire implements pool.Conn.
func (c *Conn) Retire() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.change()
}

// Once implements pool.Conn.
func (c *Conn) Once() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
}

// shut ends a connection that nothing runs on.
func (c *Conn) shut() {
	c.out.End(output.AppendGoAway(c.out.Begin(), http2.ErrCodeNo))
	c.out.Finish()
	c.end(net.ErrClosed, true)
}

// die ends the connection, and everything on it.
func (c *Conn) die(err error) { c.end(err, false) }

func (c *Conn) end(err error, polite bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err, c.leaving = err, true
	if !c.settled {
		c.settled = true
		close(c.ready)
	}
	for _, s := range c.streams {
		s.fail(&Error{Reason: exchange.UpstreamReset, Sent: true, Err: err})
	}
	for _, s := range c.free {
		c.options.Sweeper.Remove(&s.timer)
	}
	c.free = nil
	c.mu.Unlock()
	c.out.Close()
	if !polite || c.out.Direct() {
		_ = c.under().Close()
	}
	c.gone(c)
}

// Leaving implements pool.Conn.
func (c *Conn) Leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

// Ended implements pool.Conn.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// under is the connection below TLS, which can be closed without writing to it.
func (c *Conn) under() net.Conn {
	if over, ok := c.nc.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return c.nc
}

// Close ends the connection at once, and everything on it.
func (c *Conn) Close() { c.die(net.ErrClosed) }

// Sweep implements pool.Conn. It ends a connection that has had nothing to do for so many seconds, or whose endpoint does
// not answer.
func (c *Conn) Sweep(now exchange.Nanos, most uint32) {
	c.nuisance.Store(0)
	c.mu.Lock()
	silent := now - exchange.Nanos(c.lastRead.Load())
	busy := len(c.streams) > 0 || c.reserved > 0
	ping, dead := false, false
	switch {
	case c.err != nil:
	case !busy:
		c.pinged = 0
		if c.idle++; c.idle >= most {
			c.leaving = true
		}
	case silent < exchange.Nanos(pingAfter):
		c.pinged = 0
	case c.pinged == 0:
		if c.asked == 0 || now-c.asked >= exchange.Nanos(pingEvery) {
			c.pinged, c.asked, ping = now, now, true
		}
	default:
		dead = now-c.pinged >= exchange.Nanos(pingAfter)
	}
	over := c.leaving && !busy && c.err == nil
	c.mu.Unlock()
	switch {
	case dead:
		c.die(errors.New("the endpoint does not answer a PING"))
	case over:
		c.shut()
	case ping:
		b := output.AppendFrame(c.out.Begin(), 8, http2.FramePing, 0, 0)
		c.out.End(append(b, "liveness"...))
		c.out.Flush()
	}
}

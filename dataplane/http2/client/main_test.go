package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for. Nothing waits for so long unless it is broken.
const patience = 20 * time.Second

// sweeper returns one that runs until the test ends.
func sweeper(t testing.TB) *wire.Sweeper {
	t.Helper()
	s := wire.NewSweeper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

func options(t testing.TB) Options {
	return Options{Sweeper: sweeper(t)}
}

// serve starts a server of net/http that speaks HTTP/2 without TLS, and returns a pool of connections to it.
func serve(t testing.TB, h http.HandlerFunc, change func(*http.Server)) (*Pool, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened := &atomic.Int32{}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: patience, Protocols: &http.Protocols{}}
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Protocols.SetUnencryptedHTTP2(true)
	if change != nil {
		change(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	p := &Pool{}
	p.Init(options(t), func(*exchange.Exchange, Try) (net.Conn, error) {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, &Error{Reason: exchange.ConnectFailed, Err: err}
		}
		return nc, nil
	})
	t.Cleanup(func() {
		p.Close()
		_ = srv.Close()
		<-done
	})
	return p, opened
}

// A client is a Downstream that notes what it is told.
type client struct {
	mu      sync.Mutex
	interim []int
	fields  []string
	timer   atomic.Pointer[wire.Timer]
	gone    atomic.Bool
	told    chan int // each interim response, where not nil
}

func (c *client) Interim(_ *exchange.Exchange, status int, h *exchange.Header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interim = append(c.interim, status)
	if h != nil {
		c.fields = append(c.fields, list(h)...)
	}
	if c.told != nil {
		c.told <- status
	}
	return nil
}
func (c *client) Respond(*exchange.Exchange) error { panic("not called by this side") }
func (c *client) Attach(t *wire.Timer)             { c.timer.Store(t) }
func (c *client) Aborted() bool                    { return c.gone.Load() }

// leave cuts the client off.
func (c *client) leave() {
	c.gone.Store(true)
	if t := c.timer.Load(); t != nil {
		t.Owner.Wake()
	}
}

func list(h *exchange.Header) []string {
	var fields []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			fields = append(fields, string(name)+": "+string(value))
		}
	}
	return fields
}

// request returns one.
func request(m exchange.Method, path string) (*exchange.Exchange, *client) {
	down := &client{}
	x := &exchange.Exchange{Downstream: down}
	x.Request.Method, x.Request.Protocol = m, exchange.HTTP11
	x.Request.Host, x.Request.Path = []byte("example.com"), []byte(path)
	return x, down
}

func in(d time.Duration) Try {
	return Try{Deadline: exchange.Now() + exchange.Nanos(d), Idle: d}
}

// fails fails the test unless err is a Failure of that reason.
func fails(t testing.TB, err error, reason exchange.Reason) {
	t.Helper()
	_ = failure(t, err, reason)
}

// failure is fails, and returns it.
func failure(t testing.TB, err error, reason exchange.Reason) *exchange.Failure {
	t.Helper()
	var f *exchange.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Fatalf("the error is %v, want the reason %s", err, reason)
		return &exchange.Failure{}
	}
	return f
}

// read reads the response's body to its end.
func read(x *exchange.Exchange) (string, error) {
	var all []byte
	buf := make([]byte, 100)
	for x.Response.Body != nil {
		n, err := x.Response.Body.Read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return string(all), err
		}
	}
	return string(all), nil
}

// A source is a request's body, piece by piece; what is not a string is an error or a channel to wait for.
type source struct {
	x        *exchange.Exchange
	pieces   []any
	canceled chan struct{}
	once     sync.Once
}

func newSource(x *exchange.Exchange, length int64, pieces ...any) *source {
	s := &source{x: x, pieces: pieces, canceled: make(chan struct{})}
	x.Request.Body, x.Request.ContentLength = s, length
	return s
}

func (s *source) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 {
		switch piece := s.pieces[0].(type) {
		case string:
			n := copy(p, piece)
			s.Skip(n)
			return n, nil
		case error:
			return 0, piece
		case chan struct{}:
			select {
			case <-piece:
				s.pieces = s.pieces[1:]
			case <-s.canceled:
				return 0, wire.ErrCanceled
			}
		}
	}
	return 0, io.EOF
}

func (s *source) Buffered() []byte {
	if len(s.pieces) > 0 {
		if text, ok := s.pieces[0].(string); ok {
			return []byte(text)
		}
	}
	return nil
}

func (s *source) Skip(n int) {
	s.x.Record.BytesIn += int64(n)
	if text := s.pieces[0].(string)[n:]; text != "" {
		s.pieces[0] = text
	} else {
		s.pieces = s.pieces[1:]
	}
}
func (s *source) Ended() bool { return len(s.pieces) == 0 }
func (s *source) Cancel()     { s.once.Do(func() { close(s.canceled) }) }
func (s *source) Renew()      {}

// A peer is the far end of a connection, in the test's hand: it sends what no honest endpoint would.
type peer struct {
	t      testing.TB
	nc     net.Conn
	framer *http2.Framer
	enc    *hpack.Encoder
	buf    bytes.Buffer
}

// scripted returns a pool whose every connection is answered by script, on a goroutine of its own, behind the preface and
// the settings of both sides.
func scripted(t testing.TB, script func(*peer)) *Pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = nc.Close() }()
				_ = nc.SetDeadline(time.Now().Add(patience))
				p := &peer{t: t, nc: nc, framer: http2.NewFramer(nc, nc)}
				p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				p.enc = hpack.NewEncoder(&p.buf)
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(nc, preface); err != nil || string(preface) != http2.ClientPreface {
					return
				}
				script(p)
			})
		}
	})
	p := &Pool{}
	p.Init(options(t), func(*exchange.Exchange, Try) (net.Conn, error) {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, &Error{Reason: exchange.ConnectFailed, Err: err}
		}
		return nc, nil
	})
	t.Cleanup(func() {
		p.Close()
		_ = l.Close()
		for _, c := range p.Conns() {
			c.(*Conn).Close()
		}
		running.Wait()
	})
	return p
}

// settle sends settings.
func (p *peer) settle(s ...http2.Setting) { _ = p.framer.WriteSettings(s...) }

// request reads frames until a request's head has come, and returns its stream; 0 where the connection has ended.
func (p *peer) request() uint32 {
	for {
		f, err := p.framer.ReadFrame()
		if err != nil {
			return 0
		}
		if f, ok := f.(*http2.MetaHeadersFrame); ok {
			return f.StreamID
		}
	}
}

// until reads frames until one makes found true; it returns false where the connection has ended.
func (p *peer) until(found func(http2.Frame) bool) bool {
	for {
		f, err := p.framer.ReadFrame()
		if err != nil {
			return false
		}
		if found(f) {
			return true
		}
	}
}

// drain reads until the connection ends.
func (p *peer) drain() { p.until(func(http2.Frame) bool { return false }) }

// block encodes fields, "name: value" each.
func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f[1:], ":")
		name = f[:1] + name
		_ = p.enc.WriteField(hpack.HeaderField{Name: name, Value: strings.TrimPrefix(value, " ")})
	}
	return bytes.Clone(p.buf.Bytes())
}

// headers sends a head.
func (p *peer) headers(id uint32, end bool, fields ...string) {
	_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: end})
}

func (p *peer) data(id uint32, end bool, text string) { _ = p.framer.WriteData(id, end, []byte(text)) }

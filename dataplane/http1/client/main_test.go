package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

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

// pair returns the two ends of a connection over the loopback interface.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	near = nc.(*net.TCPConn)
	if far, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}

// An endpoint is the far end of a Conn, in the test's hand.
type endpoint struct {
	t    testing.TB
	conn *Conn
	near net.Conn
	far  net.Conn
	done chan bool // what Done was called with
}

// dial returns a Conn over TCP.
func dial(t testing.TB) *endpoint {
	near, far := pair(t)
	return wrap(t, near, far)
}

// pipe returns a Conn over what is no TCP.
func pipe(t testing.TB) *endpoint {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	return wrap(t, near, far)
}

func wrap(t testing.TB, near, far net.Conn) *endpoint {
	t.Helper()
	e := &endpoint{t: t, near: near, far: far, done: make(chan bool, 8)}
	e.conn = New(near, Options{Sweeper: sweeper(t), Done: func(c *Conn, reusable bool) {
		if c != e.conn {
			t.Error("Done was called with another connection")
		}
		e.done <- reusable
	}})
	t.Cleanup(e.conn.Close)
	if err := far.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return e
}

// over fails the test unless Done was called once since the last time, and returns with what.
func (e *endpoint) over() bool {
	e.t.Helper()
	if len(e.done) != 1 {
		e.t.Fatalf("Done was called %d times, want once", len(e.done))
	}
	return <-e.done
}

// script answers on a goroutine of its own.
func (e *endpoint) script(f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	e.t.Cleanup(func() {
		_ = e.near.Close()
		_ = e.far.Close()
		<-ended
	})
}

// head reads a request's head, and not a byte more.
func (e *endpoint) head() string {
	var head []byte
	var b [1]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := io.ReadFull(e.far, b[:]); err != nil {
			return string(head)
		}
		head = append(head, b[0])
	}
	return string(head)
}

func (e *endpoint) write(text string) { _, _ = io.WriteString(e.far, text) }

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
		for i := range h.Len() {
			if _, name, value, ok := h.At(i); ok {
				c.fields = append(c.fields, string(name)+": "+string(value))
			}
		}
	}
	if c.told != nil {
		c.told <- status
	}
	return nil
}
func (c *client) Respond(*exchange.Exchange) error { panic("not called by this side") }
func (c *client) Attach(t *wire.Timer)             { c.timer.Store(t) }
func (c *client) Aborted() bool                    { return c.gone.Load() }

// request returns one.
func request(m exchange.Method) (*exchange.Exchange, *client) {
	down := &client{}
	x := &exchange.Exchange{Downstream: down}
	x.Request.Method, x.Request.Protocol = m, exchange.HTTP11
	x.Request.Host, x.Request.Path = []byte("example.com"), []byte("/")
	return x, down
}

func in(d time.Duration) Try {
	return Try{Deadline: exchange.Now() + exchange.Nanos(d), Idle: d}
}

// failure fails the test unless err is a Failure of that reason.
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
	var buf [100]byte
	for x.Response.Body != nil {
		n, err := x.Response.Body.Read(buf[:])
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

// A source is a request's body, piece by piece; what is not a []byte is an error or a channel to wait for.
type source struct {
	x        *exchange.Exchange
	pieces   []any
	canceled chan struct{}
	once     sync.Once
	skipped  int
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
	s.skipped += n
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

// lines returns the head's lines without its end, sorted but for the first.
func lines(head string) []string {
	l := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	slices.Sort(l[1:])
	return l
}

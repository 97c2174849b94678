package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A RawOrigin is an origin whose every byte the test decides, and which keeps every byte that it receives.
type RawOrigin struct {
	// Addr is where it listens.
	Addr string

	t        testing.TB
	listener *net.TCPListener
	serve    func(*OriginConn)
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    []*OriginConn
	ended    bool
}

// StartRawOrigin listens and runs serve for every connection on a goroutine of its own; a connection on which nothing
// ever arrives (a health check) is not one. The connection is closed when serve returns.
func StartRawOrigin(t testing.TB, serve func(c *OriginConn)) *RawOrigin {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	o := &RawOrigin{Addr: listener.Addr().String(), t: t, listener: listener, serve: serve}
	o.running.Go(o.accept)
	t.Cleanup(o.Close)
	return o
}

// Answer is a serve function that answers every request of a connection with the same bytes.
func Answer(response string) func(*OriginConn) {
	return func(c *OriginConn) {
		for c.More() {
			if c.Request() == nil {
				return
			}
			c.Send(response)
		}
	}
}

func (o *RawOrigin) accept() {
	for {
		conn, err := o.listener.AcceptTCP()
		if err != nil {
			return
		}
		c := &OriginConn{Conn: conn, origin: o}
		c.Reader = bufio.NewReader(io.TeeReader(patient{conn}, keeper{c}))
		o.running.Go(func() {
			defer conn.Close()
			o.mu.Lock()
			if o.ended {
				o.mu.Unlock()
				return
			}
			o.conns = append(o.conns, c)
			o.mu.Unlock()
			if c.More() {
				o.serve(c)
			}
		})
	}
}

// Close stops listening, ends all connections and waits for their goroutines.
func (o *RawOrigin) Close() {
	_ = o.listener.Close()
	o.mu.Lock()
	o.ended = true
	for _, c := range o.conns {
		_ = c.Conn.Close()
	}
	o.mu.Unlock()
	o.running.Wait()
}

// Conns are the connections on which something arrived, in the order of their opening.
func (o *RawOrigin) Conns() []*OriginConn {
	o.mu.Lock()
	defer o.mu.Unlock()
	var used []*OriginConn
	for _, c := range o.conns {
		if c.Received() != "" {
			used = append(used, c)
		}
	}
	return used
}

// Received is everything that arrived, connection by connection.
func (o *RawOrigin) Received() string {
	var all strings.Builder
	for _, c := range o.Conns() {
		all.WriteString(c.Received())
	}
	return all.String()
}

// An OriginConn is a connection of a RawOrigin. Its methods mark the test as failed where the other side does not do
// what is expected, and then return what serves to end the connection: they run on the origin's goroutines.
type OriginConn struct {
	Conn   *net.TCPConn
	Reader *bufio.Reader // what is read here is in Received

	origin   *RawOrigin
	mu       sync.Mutex
	received bytes.Buffer
}

// keeper is the writer into which the Reader copies what it receives.
type keeper struct{ c *OriginConn }

func (k keeper) Write(p []byte) (int, error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.received.Write(p)
}

// Received is what arrived so far, byte by byte.
func (c *OriginConn) Received() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received.String()
}

// Fail marks the test as failed, unless the origin was closed meanwhile.
func (c *OriginConn) Fail(format string, arguments ...any) {
	c.origin.mu.Lock()
	defer c.origin.mu.Unlock()
	if !c.origin.ended {
		c.origin.t.Errorf("origin: "+format, arguments...)
	}
}

// More reports whether anything more arrives before the end of the connection.
func (c *OriginConn) More() bool {
	_, err := c.Reader.Peek(1)
	return err == nil
}

// Head reads to the empty line behind a head, and returns it all.
func (c *OriginConn) Head() string {
	var head strings.Builder
	for {
		line, err := c.Reader.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			c.Fail("the head ends early: %v: %q", err, head.String())
			return head.String()
		}
		if strings.TrimRight(line, "\r\n") == "" {
			return head.String()
		}
	}
}

// An OriginRequest is one that was read to its end.
type OriginRequest struct {
	*http.Request
	Text string // the body
}

// Request reads a whole request; nil if it is none.
func (c *OriginConn) Request() *OriginRequest {
	r, err := http.ReadRequest(c.Reader)
	if err != nil {
		c.Fail("not a request: %v: %q", err, tail(c.Received()))
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.Fail("the body of %s %s ends early: %v", r.Method, r.RequestURI, err)
		return nil
	}
	return &OriginRequest{Request: r, Text: string(body)}
}

// Read reads exactly n bytes.
func (c *OriginConn) Read(n int) string {
	b := make([]byte, n)
	if got, err := io.ReadFull(c.Reader, b); err != nil {
		c.Fail("reading %d bytes: %v after %q", n, err, tail(string(b[:got])))
		return string(b[:got])
	}
	return string(b)
}

// Rest reads until the other side ends the connection.
func (c *OriginConn) Rest() (string, error) {
	b, err := io.ReadAll(c.Reader)
	return string(b), err
}

// Send writes bytes as they are. The other side may have gone; where that matters, TrySend tells.
func (c *OriginConn) Send(text string) { _ = c.TrySend(text) }

// TrySend writes bytes as they are.
func (c *OriginConn) TrySend(text string) error {
	_, err := io.WriteString(patient{c.Conn}, text)
	return err
}

// CloseWrite sends the end of the stream and keeps reading.
func (c *OriginConn) CloseWrite() {
	if err := c.Conn.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.Fail("%v", err)
	}
}

// Reset ends the connection with a reset.
func (c *OriginConn) Reset() {
	_ = c.Conn.SetLinger(0)
	_ = c.Conn.Close()
}

// String names the connection by its peer.
func (c *OriginConn) String() string { return fmt.Sprint(c.Conn.RemoteAddr()) }

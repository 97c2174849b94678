package harness

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A Client is a connection whose every byte the test decides.
type Client struct {
	Conn   *net.TCPConn
	raw    bytes.Buffer // everything received
	reader *bufio.Reader
}

// Dial opens a connection, which is closed when the test ends.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: Patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", conn)
	}
	c := &Client{Conn: tcp}
	c.reader = bufio.NewReader(io.TeeReader(patient{tcp}, &c.raw))
	t.Cleanup(func() { _ = tcp.Close() })
	return c
}

// patient is a connection whose every single read and write has a deadline.
type patient struct{ *net.TCPConn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Write(b)
}

// Send writes bytes as they are.
func (c *Client) Send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(patient{c.Conn}, text); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// TrySend writes bytes as they are, and lets the caller judge the error. It may run on another goroutine.
func (c *Client) TrySend(text string) error {
	_, err := io.WriteString(patient{c.Conn}, text)
	return err
}

// CloseWrite sends the end of the stream and keeps reading.
func (c *Client) CloseWrite(t testing.TB) {
	t.Helper()
	if err := c.Conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// Reset ends the connection with a reset.
func (c *Client) Reset() {
	_ = c.Conn.SetLinger(0)
	_ = c.Conn.Close()
}

// A Response is one that was read to its end.
type Response struct {
	*http.Response
	// Text is the body. It is what came of it where BodyErr says that it is cut short.
	Text string
	// BodyErr is io.ErrUnexpectedEOF, or the network's error, for a body that did not end as its framing says.
	BodyErr error
}

// TryResponse reads one response to a request with the method, the end of the connection being io.EOF.
func (c *Client) TryResponse(method string) (*Response, error) {
	if _, err := c.reader.Peek(1); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return &Response{Response: response, Text: string(body), BodyErr: err}, nil
}

// Response reads one response to a request with the method; its body must be whole. An interim response (100, 103) is
// one of its own.
func (c *Client) Response(t testing.TB, method string) *Response {
	t.Helper()
	r, err := c.TryResponse(method)
	if err != nil {
		t.Fatalf("reading a response: %v; received so far: %q", err, tail(c.raw.String()))
	}
	if r.BodyErr != nil {
		t.Fatalf("the body of a %d response is cut short after %d bytes: %v", r.StatusCode, len(r.Text), r.BodyErr)
	}
	return r
}

// Do sends a request and reads its response. The request's bytes are sent as they are.
func (c *Client) Do(t testing.TB, request string) *Response {
	t.Helper()
	c.Send(t, request)
	method, _, _ := strings.Cut(request, " ")
	return c.Response(t, method)
}

// TryResponseTo sends a request and reads its response, either of which may fail.
func (c *Client) TryResponseTo(request string) (*Response, error) {
	if err := c.TrySend(request); err != nil {
		return nil, err
	}
	method, _, _ := strings.Cut(request, " ")
	return c.TryResponse(method)
}

// Read reads exactly n bytes, past what the responses took.
func (c *Client) Read(t testing.TB, n int) string {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(c.reader, b); err != nil {
		t.Fatalf("reading %d bytes: %v after %q", n, err, tail(string(b[:got])))
	}
	return string(b)
}

// Rest reads until the other side closes, and says how: nil is a clean end.
func (c *Client) Rest() (string, error) {
	b, err := io.ReadAll(c.reader)
	return string(b), err
}

// Closed expects that the other side closes and sends nothing before. A reset is as good.
func (c *Client) Closed(t testing.TB) {
	t.Helper()
	rest, err := c.Rest()
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the connection is not closed; received %q", tail(rest))
	}
	if rest != "" {
		t.Fatalf("bytes before the end of the connection: %q", tail(rest))
	}
}

// Received is everything that came on the connection, byte by byte.
func (c *Client) Received() string { return c.raw.String() }

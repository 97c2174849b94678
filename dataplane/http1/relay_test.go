package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A forwarder is a handler that passes every request on to one endpoint's connection.
type forwarder struct {
	conn *client.Conn
	done chan bool
	errs chan error
}

func (f *forwarder) Serve(x *exchange.Exchange) {
	x.Request.Path = x.Request.RawPath
	if !x.Request.Upgrade {
		x.Request.Header.DelID(exchange.Connection)
	}
	if err := f.conn.RoundTrip(x, client.Try{Idle: testPatience}); err != nil {
		<-f.done
		f.errs <- err
		x.Answer(502, exchange.UpstreamReset)
		_ = x.Downstream.Respond(x)
		return
	}
	x.Response.Header.DelID(exchange.Connection)
	if err := x.Downstream.Respond(x); err != nil {
		select {
		case f.errs <- err:
		default:
		}
	}
	stream := x.Response.Stream
	x.Response.Stream = nil
	stream.Release()
	<-f.done
}

func (f *forwarder) Refuse(x *exchange.Exchange, status int, reason exchange.Reason) {
	x.Answer(status, reason)
	_ = x.Downstream.Respond(x)
}

// relay returns a client's connection to a server that forwards to the other end of the returned endpoint.
func relay(t testing.TB) (nc net.Conn, endpoint net.Conn, f *forwarder) {
	t.Helper()
	r := newRig(t, ServerOptions{})
	near, far := pair(t)
	f = &forwarder{done: make(chan bool, 1), errs: make(chan error, 8)}
	f.conn = client.New(near, client.Options{Sweeper: r.srv.sweeper, Done: func(_ *client.Conn, reusable bool) { f.done <- reusable }})
	r.srv = NewServer(f, r.srv.sweeper, *r.srv.options.Load(), logr.Discard())
	t.Cleanup(func() {
		r.srv.Close()
		r.serving.Wait()
		f.conn.Close()
		_ = far.Close()
	})
	if err := far.SetDeadline(time.Now().Add(testPatience)); err != nil {
		t.Fatal(err)
	}
	return r.dial("tcp"), far, f
}

// TestRelay passes bodies of all framings and of sizes around those of buffers on, both ways at once.
func TestRelay(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		for _, n := range []int{0, 1, 4095, wire.BufferSize - 1, wire.BufferSize, wire.BufferSize + 1, 100<<10 + 7, 3<<20 + 5} {
			t.Run(fmt.Sprintf("chunked=%t/%d", chunked, n), func(t *testing.T) {
				nc, far, _ := relay(t)
				data := bytes.Repeat([]byte("0123456789abcde"), n/15+1)[:n]
				framed := func() []byte {
					if !chunked {
						return fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", n, data)
					}
					out := []byte("Transfer-Encoding: chunked\r\n\r\n")
					for rest := data; len(rest) > 0; {
						k := min(len(rest), 7001)
						out = fmt.Appendf(out, "%x\r\n%s\r\n", k, rest[:k])
						rest = rest[k:]
					}
					return append(out, "0\r\n\r\n"...)
				}()
				origin := make(chan error, 1)
				go func() {
					in := bufio.NewReader(far)
					for range 2 {
						if err := echo(in, far, data, framed); err != nil {
							origin <- err
							return
						}
					}
					origin <- nil
				}()
				answers := bufio.NewReader(nc)
				for range 2 { // the second on the same connections
					if _, err := nc.Write(append([]byte("POST / HTTP/1.1\r\nHost: a\r\n"), framed...)); err != nil {
						t.Fatal(err)
					}
					if got := next(t, answers, "POST"); got.status != 200 || got.body != string(data) || got.err != nil {
						t.Fatalf("the answer is %d with %d bytes, %v; want %d", got.status, len(got.body), got.err, n)
					}
				}
				if err := <-origin; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// echo reads one request, whose body must be data, and answers it.
func echo(in *bufio.Reader, out io.Writer, data, framed []byte) error {
	chunked := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		chunked = chunked || strings.HasPrefix(line, "Transfer-Encoding")
		if line == "\r\n" {
			break
		}
	}
	var body []byte
	if !chunked {
		body = make([]byte, len(data))
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
	}
	for size := -1; chunked && size != 0; {
		if _, err := fmt.Fscanf(in, "%x\r\n", &size); err != nil {
			return err
		}
		piece := make([]byte, size+2)
		if _, err := io.ReadFull(in, piece); err != nil {
			return err
		}
		body = bytes.Join([][]byte{body, piece[:size]}, nil)
	}
	if !bytes.Equal(body, data) {
		return fmt.Errorf("the endpoint got %d bytes, or others than were sent", len(body))
	}
	_, err := out.Write(append([]byte("HTTP/1.1 200 OK\r\n"), framed...))
	return err
}

// TestTruncatedResponseLooksTruncated whatever its size is, and however it is passed on.
func TestTruncatedResponseLooksTruncated(t *testing.T) {
	for _, n := range []int{10, 20 << 10, 1 << 20} {
		for _, chunked := range []bool{false, true} {
			nc, far, f := relay(t)
			go func() {
				_, _ = bufio.NewReader(far).ReadString('\n')
				head := fmt.Sprintf("Content-Length: %d\r\n\r\n", n)
				if chunked {
					head = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", n)
				}
				_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\n"+head+strings.Repeat("x", n-1))
				_ = far.(*net.TCPConn).CloseWrite()
			}()
			if _, err := io.WriteString(nc, "GET /"+get); err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(nc)
			if got := next(t, answers, "GET"); got.status != 200 || got.err == nil {
				t.Errorf("%d bytes less one, chunked %t: the client sees %d bytes, %v; want an error", n, chunked, len(got.body), got.err)
			}
			ended(t, answers)
			select {
			case err := <-f.errs:
				if err == nil {
					t.Error("Respond returned no error")
				}
			case <-time.After(testPatience):
				t.Error("Respond did not return")
			}
		}
	}
}

func TestTunnel(t *testing.T) {
	nc, far, _ := relay(t)
	origin := make(chan string, 1)
	go func() {
		in := bufio.NewReader(far)
		for {
			if line, err := in.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(far, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nfirst")
		all, _ := io.ReadAll(in)
		_, _ = far.Write(bytes.ToUpper(all))
		_ = far.(*net.TCPConn).CloseWrite()
		origin <- string(all)
	}()
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nearly "); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(nc)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(nc, "and late"); err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil { // half closed: the other direction goes on
		t.Fatal(err)
	}
	if got := <-origin; got != "early and late" {
		t.Errorf("the endpoint got %q", got)
	}
	if all, err := io.ReadAll(answers); string(all) != "firstEARLY AND LATE" || err != nil {
		t.Errorf("the client got %q, %v", all, err)
	}
}

// BenchmarkExchange is a whole small exchange: client, server, endpoint, over the loopback interface.
func BenchmarkExchange(b *testing.B) {
	nc, far, _ := relay(b)
	_ = nc.SetDeadline(time.Time{})
	_ = far.SetDeadline(time.Time{})
	go func() {
		buf := make([]byte, 4096)
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
			if _, err := far.Write(answer); err != nil {
				return
			}
		}
	}()
	request := []byte("GET /1" + get)
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := nc.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// TestWakeUpDoesNotEndTLS: crypto/tls survives no write that a deadline ends, and deadlines here are wake-ups that may
// come late and mean something else.
func TestWakeUpDoesNotEndTLS(t *testing.T) {
	r := newRig(t, ServerOptions{})
	t.Cleanup(func() { close(r.h.release) })
	nc := r.dial("tls")
	if _, err := io.WriteString(nc, "GET /wait"+get); err != nil {
		t.Fatal(err)
	}
	c := (<-r.h.waiting).Downstream.(*conn)
	const size = 8 << 20 // more than the buffers on the way hold
	sent := make(chan error, 1)
	go func() { sent <- c.write(make([]byte, size)) }()
	for range 20 {
		select {
		case err := <-sent:
			t.Fatalf("the write ended before anybody read: %v", err)
		case <-time.After(time.Millisecond):
		}
		c.Wake()
	}
	if n, err := io.CopyN(io.Discard, nc, size); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestSlowClientOverTLS: a client that takes nothing is cut off, and the end is not waited for.
func TestSlowClientOverTLS(t *testing.T) {
	r := newRig(t, ServerOptions{IdleTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { close(r.h.release) })
	nc := r.dial("tls")
	if _, err := io.WriteString(nc, "GET /wait"+get); err != nil {
		t.Fatal(err)
	}
	c := (<-r.h.waiting).Downstream.(*conn)
	if err := c.write(make([]byte, 8<<20)); !errors.Is(err, errClientSlow) {
		t.Errorf("the write ended with %v", err)
	}
	if !c.stuck {
		t.Error("the end would be announced to a client that takes nothing: crypto/tls waits for that for five seconds")
	}
}

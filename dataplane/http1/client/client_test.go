package client

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// TestResponses has an endpoint answer, over TCP and over what is none, in one piece and byte by byte.
func TestResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	long := strings.Repeat("0123456789abcdef", 4096)
	tests := []struct {
		name     string
		method   exchange.Method
		response string
		closes   bool
		status   int
		body     string
		cut      exchange.Reason // of the body
		refused  exchange.Reason // of the round trip
		reusable bool
	}{
		{name: "length", response: ok + "Content-Length: 5\r\n\r\nhello", body: "hello", reusable: true},
		{name: "no content", response: ok + "Content-Length: 0\r\n\r\n", reusable: true},
		{name: "chunked", response: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", body: "hello!", reusable: true},
		{name: "until close", response: ok + "\r\nhello", closes: true, body: "hello"},
		{name: "HTTP/1.0", response: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", body: "hello"},
		{name: "HTTP/1.0 keep-alive", response: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", body: "hello", reusable: true},
		{name: "Connection: close", response: ok + "Connection: close\r\nContent-Length: 5\r\n\r\nhello", body: "hello"},
		{name: "HEAD", method: exchange.HEAD, response: ok + "Content-Length: 5\r\n\r\n", reusable: true},
		{name: "HEAD with a body", method: exchange.HEAD, response: ok + "Content-Length: 5\r\n\r\nhello"},
		{name: "204", response: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reusable: true},
		{name: "304", response: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", status: 304, reusable: true},
		{name: "extra bytes", response: ok + "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n", body: "hello"},
		{name: "extra bytes behind chunks", response: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nmore", body: "x"},
		{name: "large", response: ok + "Content-Length: 65536\r\n\r\n" + long, body: long, reusable: true},
		{name: "large chunks", response: ok + "Transfer-Encoding: chunked\r\n\r\n10000\r\n" + long + "\r\n0\r\n\r\n", body: long, reusable: true},
		{name: "large head", response: ok + "X-A: " + long[:40000] + "\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + long + "\r\n0\r\n\r\n", body: long, reusable: true},

		{name: "truncated length", response: ok + "Content-Length: 6\r\n\r\nhello", closes: true, body: "hello", cut: exchange.UpstreamTruncated},
		{name: "truncated chunk", response: ok + "Transfer-Encoding: chunked\r\n\r\n6\r\nhello", closes: true, body: "hello", cut: exchange.UpstreamTruncated},
		{name: "truncated between chunks", response: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", closes: true, body: "hello", cut: exchange.UpstreamTruncated},
		{name: "truncated trailer", response: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n", closes: true, body: "hello", cut: exchange.UpstreamTruncated},
		{name: "malformed chunk", response: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", body: "hello", cut: exchange.UpstreamTruncated},

		{name: "nothing", closes: true, refused: exchange.UpstreamReset},
		{name: "half a head", response: ok + "Content-Le", closes: true, refused: exchange.UpstreamReset},
		{name: "only interim", response: "HTTP/1.1 103 Early Hints\r\n\r\n", closes: true, refused: exchange.UpstreamReset},
		{name: "no HTTP", response: "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", refused: exchange.UpstreamProtocol},
		{name: "two lengths", response: ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", refused: exchange.UpstreamProtocol},
		{name: "endless head", response: ok + strings.Repeat("X-A: "+long[:1000]+"\r\n", 100), refused: exchange.UpstreamProtocol},
		{name: "101 unasked", response: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", refused: exchange.UpstreamProtocol},
		{name: "interim flood", response: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 17) + ok + "Content-Length: 0\r\n\r\n", refused: exchange.UpstreamProtocol},
		{name: "much interim", response: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 16) + ok + "Content-Length: 0\r\n\r\n", reusable: true},
	}
	for _, tt := range tests {
		for _, how := range []string{"whole", "bytewise", "pipe"} {
			if how == "bytewise" && len(tt.response) > 1000 {
				continue
			}
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				e := dial(t)
				if how == "pipe" {
					e = pipe(t)
				}
				e.script(func() {
					e.head()
					for rest := tt.response; rest != ""; {
						n := len(rest)
						if how == "bytewise" {
							n = 1
						}
						e.write(rest[:n])
						rest = rest[n:]
					}
					if tt.closes {
						_ = e.far.Close()
					}
				})
				x, _ := request(exchange.GET)
				if tt.method != 0 {
					x.Request.Method = tt.method
				}
				err := e.conn.RoundTrip(x, in(patience))
				if tt.refused != "" {
					if f := failure(t, err, tt.refused); !f.Sent {
						t.Error("the failure does not say that the request was sent")
					}
					if e.over() {
						t.Error("the connection is reusable")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if want := max(tt.status, 200+(tt.status-200)*boolToInt(tt.status != 0)); x.Response.Status != want {
					t.Errorf("the status is %d, want %d", x.Response.Status, want)
				}
				body, err := read(x)
				if body != tt.body {
					t.Errorf("the body is %.40q (%d bytes), want %.40q (%d)", body, len(body), tt.body, len(tt.body))
				}
				if tt.cut != "" {
					_ = failure(t, err, tt.cut)
				} else if err != nil {
					t.Error(err)
				}
				if len(e.done) != 0 {
					t.Error("Done was called before Release")
				}
				x.ResetResponse()
				reusable := tt.reusable
				if how != "whole" && strings.HasPrefix(tt.name, "extra bytes") || how != "whole" && tt.name == "HEAD with a body" {
					<-e.done // how much of it was read by then is open
				} else if got := e.over(); got != reusable {
					t.Errorf("the connection is reusable: %t, want %t", got, reusable)
				}
			})
		}
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestConnectionIsUsedAgain(t *testing.T) {
	e := dial(t)
	e.script(func() {
		for i := 0; e.head() != ""; i++ {
			e.write(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-N: %d\r\nContent-Length: 1\r\n\r\n%d", i, i))
		}
	})
	x, _ := request(exchange.GET)
	for i := range 5 {
		if err := e.conn.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		if n, _ := x.Response.Header.Get("X-N"); string(n) != fmt.Sprint(i) {
			t.Errorf("response %d is that of request %s", i, n)
		}
		if body, err := read(x); body != fmt.Sprint(i) || err != nil {
			t.Errorf("body %d is %q, %v", i, body, err)
		}
		x.ResetResponse()
		if !e.over() {
			t.Fatal("the connection is not reusable")
		}
		if e.conn.Stale() {
			t.Fatal("a silent connection is stale")
		}
	}
}

// TestUnreadBodyEndsTheConnection: what was not read would be taken for the next response.
func TestUnreadBodyEndsTheConnection(t *testing.T) {
	for _, response := range []string{"Content-Length: 10\r\n\r\nhello", "Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		e := dial(t)
		e.script(func() {
			e.head()
			e.write("HTTP/1.1 200 OK\r\n" + response)
		})
		x, _ := request(exchange.GET)
		if err := e.conn.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		x.ResetResponse()
		if e.over() {
			t.Errorf("%q: reusable with a body that nobody read", response)
		}
	}
}

// TestStale: what ended while it was idle is found before anything is sent, so that any request can be sent elsewhere.
func TestStale(t *testing.T) {
	for _, how := range []string{"closed", "reset", "unasked"} {
		t.Run(how, func(t *testing.T) {
			e := dial(t)
			ended := make(chan struct{})
			goOn := make(chan struct{})
			e.script(func() {
				e.head()
				e.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				<-goOn
				switch how {
				case "closed":
					_ = e.far.(*net.TCPConn).CloseWrite()
				case "reset":
					_ = e.far.(*net.TCPConn).SetLinger(0)
					_ = e.far.Close()
				case "unasked":
					e.write("HTTP/1.1 408 Request Timeout\r\n\r\n")
				}
				close(ended)
			})
			x, _ := request(exchange.GET)
			if err := e.conn.RoundTrip(x, in(patience)); err != nil {
				t.Fatal(err)
			}
			x.ResetResponse()
			if !e.over() {
				t.Fatal("the connection is not reusable")
			}
			close(goOn)
			<-ended
			for at := time.Now(); !e.conn.Stale(); {
				if time.Since(at) > patience {
					t.Fatal("the connection does not become stale")
				}
			}
			x, _ = request(exchange.POST)
			body := newSource(x, 4, "body")
			if err := e.conn.RoundTrip(x, in(patience)); !errors.Is(err, ErrStale) {
				t.Fatalf("the error is %v, want ErrStale", err)
			}
			if e.over() {
				t.Error("a stale connection is reusable")
			}
			if body.skipped != 0 || x.Record.BytesIn != 0 {
				t.Error("the body was taken")
			}
		})
	}
}

// TestEndpointThatSpeaksFirst: an answer that came before the request is an answer, but the connection is used for
// nothing else. Its arrival is noticed although it was announced before anybody waited for it.
func TestEndpointThatSpeaksFirst(t *testing.T) {
	e := dial(t)
	e.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	for at := time.Now(); !e.conn.Stale(); {
		if time.Since(at) > patience {
			t.Fatal("nothing arrives")
		}
	}
	// Go's scheduler hears of it now, or has already: nothing else will be heard.
	if err := e.near.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	times := 0
	_ = e.conn.raw.Read(func(uintptr) bool { times++; return times == 2 })
	if err := e.near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	x, _ := request(exchange.GET)
	if err := e.conn.RoundTrip(x, in(patience/10)); err != nil {
		t.Fatal(err)
	}
	if x.Response.Status != 503 {
		t.Errorf("the status is %d", x.Response.Status)
	}
	x.ResetResponse()
	if e.over() {
		t.Error("the connection is reusable")
	}
}

func TestInterimResponsesArePassedOn(t *testing.T) {
	e := dial(t)
	e.script(func() {
		e.head()
		e.write("HTTP/1.1 100 Continue\r\n\r\n") // nobody asked
		e.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nKeep-Alive: 1\r\nUpgrade: y\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok")
	})
	x, down := request(exchange.GET)
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if want := []int{103, 102}; !slices.Equal(down.interim, want) {
		t.Errorf("passed on were %v, want %v", down.interim, want)
	}
	if want := []string{"Link: </a>"}; !slices.Equal(down.fields, want) {
		t.Errorf("their fields were %q, want %q", down.fields, want)
	}
	if body, err := read(x); body != "ok" || err != nil || x.Response.Status != 200 {
		t.Errorf("the response is %d %q, %v", x.Response.Status, body, err)
	}
	if v, _ := x.Response.Header.Get("X-A"); string(v) != "b" || x.Response.Header.Has(exchange.Connection) {
		t.Error("the final response's fields are not its own")
	}
	x.ResetResponse()
	if !e.over() {
		t.Error("the connection is not reusable")
	}
}

func TestUpgrade(t *testing.T) {
	e := dial(t)
	e.script(func() {
		e.head()
		e.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nwelcome")
	})
	x, _ := request(exchange.GET)
	x.Request.Upgrade = true
	x.Request.Header.Add("Connection", "upgrade")
	x.Request.Header.Add("Upgrade", "chat")
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if x.Response.Tunnel == nil || x.Response.Status != 101 {
		t.Fatalf("the response is %d, %v", x.Response.Status, x.Response.Tunnel)
	}
	if got := string(x.Response.Tunnel.Buffered()); got != "welcome" {
		t.Errorf("behind the head came %q", got)
	}
	x.ResetResponse()
	if e.over() {
		t.Error("the connection of a tunnel is reusable")
	}
}

func TestDeadlines(t *testing.T) {
	const short = 30 * time.Millisecond
	for _, how := range []string{"tcp", "pipe"} {
		connect := dial
		if how == "pipe" {
			connect = pipe
		}
		t.Run(how+"/no head", func(t *testing.T) {
			e := connect(t)
			e.script(func() { e.head() })
			x, _ := request(exchange.GET)
			_ = failure(t, e.conn.RoundTrip(x, in(short)), exchange.UpstreamTimeout)
			if e.over() {
				t.Error("the connection is reusable")
			}
		})
		t.Run(how+"/stalled body", func(t *testing.T) {
			e := connect(t)
			e.script(func() {
				e.head()
				e.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			})
			x, _ := request(exchange.GET)
			if err := e.conn.RoundTrip(x, Try{Deadline: in(patience).Deadline, Idle: short}); err != nil {
				t.Fatal(err)
			}
			body, err := read(x)
			_ = failure(t, err, exchange.UpstreamIdle)
			if body != "hello" {
				t.Errorf("the body is %q", body)
			}
			x.ResetResponse()
			if e.over() {
				t.Error("the connection is reusable")
			}
		})
		t.Run(how+"/client gone", func(t *testing.T) {
			e := connect(t)
			x, down := request(exchange.GET)
			e.script(func() {
				e.head()
				down.gone.Store(true)
				down.timer.Load().Owner.Wake()
			})
			_ = failure(t, e.conn.RoundTrip(x, Try{}), exchange.ClientReset)
			if e.over() || down.timer.Load() != nil {
				t.Error("the connection is reusable, or still the client's")
			}
		})
		// A server that ends all connections tells an exchange's endpoint if it has one by then.
		t.Run(how+"/client gone before", func(t *testing.T) {
			e := connect(t)
			e.script(func() { e.head() })
			x, down := request(exchange.GET)
			down.gone.Store(true)
			try := in(patience)
			_ = failure(t, e.conn.RoundTrip(x, try), exchange.ClientReset)
			if exchange.Now() >= try.Deadline {
				t.Error("noticed only when the time was over")
			}
			e.over()
		})
		// Deadlines of an exchange before this one, or meant for nobody.
		t.Run(how+"/spurious", func(t *testing.T) {
			e := connect(t)
			e.script(func() {
				e.head()
				e.conn.Wake()
				e.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
				e.conn.Wake()
				e.write("def")
			})
			x, _ := request(exchange.GET)
			e.conn.Wake()
			if err := e.conn.RoundTrip(x, in(patience)); err != nil {
				t.Fatal(err)
			}
			if body, err := read(x); body != "abcdef" || err != nil {
				t.Errorf("the body is %q, %v", body, err)
			}
			x.ResetResponse()
			if !e.over() {
				t.Error("the connection is not reusable")
			}
		})
	}
}

package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const large = 10 << 20

func TestChunkedBodiesAndTrailersBothWays(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n" +
		"3;ext=\"a;b\"\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
	origin := script{"/": func(c *harness.OriginConn, r *harness.OriginRequest) bool {
		want := http.Header{"X-Check": {"z"}, "X-Two": {"2"}}
		if r.Text != "hello world" || !cmp.Equal(want, r.Trailer) || !cmp.Equal(r.TransferEncoding, []string{"chunked"}) {
			c.Fail("body %q, trailer %v, coding %v", r.Text, r.Trailer, r.TransferEncoding)
		}
		c.Send(answer)
		return true
	}}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for range 2 {
		c.Send(t, request("POST", "/", "Transfer-Encoding: chunked", "Trailer: X-Check, X-Two")+
			"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Check: z\r\nX-Two: 2\r\n\r\n")
		r := c.Response(t, "POST")
		expect(t, r, 200, "abcd")
		if diff := cmp.Diff(http.Header{"X-Sum": {"1"}, "X-More": {"2"}}, r.Trailer); diff != "" {
			t.Errorf("trailer (-want +got):\n%s", diff)
		}
	}
	if strings.Contains(origin.Received(), "name=value") || strings.Contains(c.Received(), "ext=") {
		t.Error("a chunk extension was forwarded")
	}
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
}

// The fields that frame a message or say who somebody is have no business in a trailer.
func TestTrailersCannotReplaceHeaders(t *testing.T) {
	t.Parallel()
	origin := script{"/": func(c *harness.OriginConn, r *harness.OriginRequest) bool {
		for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "Authorization", "Connection"} {
			if value, ok := r.Trailer[name]; ok {
				c.Fail("trailer field %s: %q", name, value)
			}
		}
		c.Send(ok)
		return true
	}}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	r := c.Do(t, request("POST", "/", "Transfer-Encoding: chunked")+"1\r\na\r\n0\r\nHost: evil\r\nContent-Length: 5\r\n"+
		"Transfer-Encoding: chunked\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\nConnection: close\r\n\r\n")
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusBadRequest {
		t.Error(r.Status, r.Text)
	}
	if strings.Contains(origin.Received(), "6.6.6.6") || strings.Contains(origin.Received(), "evil") {
		t.Errorf("the origin received %q", origin.Received())
	}
}

// bodies are requests or responses as they go over the wire, one for each framing.
func bodies(text string) map[string]string {
	half := len(text) / 2
	return map[string]string{
		"length":  fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text),
		"chunked": "Transfer-Encoding: chunked\r\n\r\n" + chunks(text[:1], text[1:half], text[half:]),
	}
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	text := harness.Pattern(large)
	origin := script{"/": says(ok), "/up": func(c *harness.OriginConn, r *harness.OriginRequest) bool {
		if r.Text != text {
			c.Fail("%d bytes arrived, or other bytes than were sent", len(r.Text))
		}
		c.Send(ok)
		return true
	}}
	for name, message := range bodies(text) {
		origin["/down/"+name] = says("HTTP/1.1 200 OK\r\n" + message)
	}
	origin["/down/close"] = saysAndCloses("HTTP/1.1 200 OK\r\n\r\n" + text)
	s := front(t, origin.start(t).Addr, "", "")

	for name, message := range bodies(text) {
		t.Run("up/"+name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			expect(t, c.Do(t, "POST /up HTTP/1.1\r\nHost: h\r\n"+message), 200, "ok")
			expect(t, c.Do(t, request("GET", "/")), 200, "ok") // both connections are in step
		})
	}
	for _, name := range []string{"length", "chunked", "close"} {
		t.Run("down/"+name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			if r := c.Do(t, request("GET", "/down/"+name)); r.StatusCode != http.StatusOK || r.Text != text {
				t.Errorf("%d with %d bytes, or other bytes than were sent", r.StatusCode, len(r.Text))
			}
			expect(t, c.Do(t, request("GET", "/")), 200, "ok")
		})
	}
	t.Run("both ways at once", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		sent := make(chan error, 1)
		go func() {
			sent <- c.TrySend("POST /up HTTP/1.1\r\nHost: h\r\n" + bodies(text)["length"] + request("GET", "/down/length"))
		}()
		expect(t, c.Response(t, "POST"), 200, "ok")
		if r := c.Response(t, "GET"); r.Text != text {
			t.Errorf("%d bytes, or other bytes than were sent", len(r.Text))
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// A body that is echoed while it is sent needs both directions at the same time, whatever its size.
func TestBodiesThatAreEchoedWhileTheyAreSent(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n")
		if !strings.Contains(head, "Content-Length: 1048576") {
			c.Fail("%q", head)
			return
		}
		_, _ = io.CopyN(c.Conn, c.Reader, 1<<20)
	})
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	text := harness.Pattern(1 << 20)
	c.Send(t, request("POST", "/", "Content-Length: 1048576"))
	c.Send(t, text[:1])
	if head := c.Read(t, len("HTTP/1.1 200 OK\r\n")); head != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("%q", head)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.TrySend(text[1:]) }()
	readHead(t, c)
	if got := c.Read(t, len(text)); got != text {
		t.Error("other bytes came back than were sent")
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A client that reads slowly gets everything; meanwhile the origin waits, and the proxy does not hoard what it sends.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const pieces = 640
	piece := harness.Pattern(64 << 10)
	var sent atomic.Int64
	origin := script{"/": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", pieces*len(piece)))
		for range pieces {
			c.Send(piece)
			sent.Add(1)
		}
		return true
	}}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	c.Send(t, request("GET", "/"))
	readHead(t, c)
	// The sockets' buffers fill up; then nothing moves.
	before, still := int64(-1), 0
	harness.Eventually(t, "the origin waits", func() bool {
		if now := sent.Load(); now != before {
			before, still = now, 0
		}
		still++
		return still > 50
	})
	if before == pieces {
		t.Errorf("the proxy took %d MiB for a client that does not read", pieces*len(piece)>>20)
	}
	for range pieces {
		if c.Read(t, len(piece)) != piece {
			t.Fatal("other bytes came than were sent")
		}
	}
	if line := s.AccessOf(t, "/"); line.Number("bytes_out") != float64(pieces*len(piece)) || line.Text("reason") != "" {
		t.Error(line)
	}
}

// readHead reads to the empty line behind a head, byte by byte, and leaves the body where it is.
func readHead(t *testing.T, c *harness.Client) string {
	t.Helper()
	head := ""
	for !strings.HasSuffix(head, "\r\n\r\n") {
		head += c.Read(t, 1)
	}
	return head
}

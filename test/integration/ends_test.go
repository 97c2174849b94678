package integration_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A response that the origin did not finish must never look finished to the client, however it was framed on either side.
func TestTruncatedResponsesNeverLookComplete(t *testing.T) {
	t.Parallel()
	origin := script{}
	var all []string // paths
	for _, end := range []string{"fin", "rst"} {
		for size, text := range map[string]string{"small": "abc", "large": harness.Pattern(300_000)} {
			for framing, head := range map[string]string{
				"length":          fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text)+1),
				"length, 1.0":     fmt.Sprintf("HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n", len(text)+1),
				"chunked":         fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", len(text)+1),
				"between chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
				"in the trailer":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
				"bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
				"until it closes": "HTTP/1.1 200 OK\r\n\r\n",
			} {
				body := text
				switch framing {
				case "between chunks":
					body = strings.TrimSuffix(chunks(text), "0\r\n\r\n")
				case "in the trailer":
					body = strings.TrimSuffix(chunks(text), "\r\n") + "X-Sum: 1\r\n"
				case "bad chunk":
					body = strings.TrimSuffix(chunks(text), "0\r\n\r\n") + "zz\r\nabc\r\n0\r\n\r\n"
				case "until it closes":
					if end == "fin" {
						continue // that is its ordinary end
					}
				}
				path := "/" + strings.NewReplacer(" ", "-", ",", "").Replace(end+"/"+size+"/"+framing)
				origin[path] = func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
					c.Send(head + body)
					if end == "rst" {
						// The bytes are on their way: a reset may destroy them, or come behind them.
						c.Reset()
					}
					return false
				}
				all = append(all, path)
			}
		}
	}
	s := front(t, origin.start(t).Addr, "retry: {attempts: 1}", "")
	for _, path := range all {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(version+path, func(t *testing.T) {
				t.Parallel()
				c := s.dial(t)
				c.Send(t, "GET "+path+"?"+version+" "+version+"\r\nHost: h\r\n\r\n")
				r, err := c.TryResponse("GET")
				if err == nil && r.BodyErr == nil && r.StatusCode != http.StatusBadGateway {
					t.Errorf("the response looks complete: %d, %d bytes: %q", r.StatusCode, len(r.Text), c.Received()[:min(200, len(c.Received()))])
				}
				if err == nil && r.StatusCode == http.StatusBadGateway && strings.HasPrefix(path, "/fin/") {
					t.Errorf("there was a head to pass on, but the answer is %s", r.Text)
				}
				if rest, _ := c.Rest(); rest != "" && err == nil && r.BodyErr != nil {
					t.Errorf("%d more bytes on a connection whose response was cut off", len(rest))
				}
			})
		}
	}
}

func TestTruncationIsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	origin := script{
		"/cut":   saysAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"),
		"/whole": saysAndCloses("HTTP/1.1 200 OK\r\n\r\nabc"),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	c.Send(t, request("GET", "/cut"))
	if r, err := c.TryResponse("GET"); err != nil || r.BodyErr == nil || r.Text != "abc" {
		t.Errorf("%+v %v", r, err)
	}
	line := s.AccessOf(t, "/cut")
	if line.Text("reason") != "upstream_truncated" || line.Number("status") != 200 || line.Number("bytes_out") != 3 {
		t.Error(line)
	}
	expect(t, s.dial(t).Do(t, request("GET", "/whole")), 200, "abc")
	if line := s.AccessOf(t, "/whole"); line.Text("reason") != "" {
		t.Error(line)
	}
	s.AwaitMetric(t, 1, "aborted_responses_total", "reason", "upstream_truncated")
	s.AwaitMetric(t, 1, "aborted_responses_total")
}

// An origin that answers before it has the whole body and reads no more of it: the answer comes at once.
func TestEarlyResponseOfAnOriginThatStopsReading(t *testing.T) {
	t.Parallel()
	const tooLarge = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		if strings.HasPrefix(head, "GET") {
			c.Send(ok)
			return
		}
		c.Send(tooLarge)
		c.CloseWrite()
		_, _ = c.Rest() // it keeps the connection open, but a while later it would not
	})
	s := front(t, origin.Addr, "", "")
	for name, framing := range map[string]string{"length": "Content-Length: 104857600", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			c.Send(t, request("POST", "/"+name, framing)+"1\r\na")
			r := c.Response(t, "POST") // while the client has 100 MiB to go
			expect(t, r, 413, "big")
			// Where the next request would begin is not known: the connection ends, and what is sent meanwhile is no request.
			_ = c.TrySend(request("GET", "/smuggled"))
			if rest, _ := c.Rest(); rest != "" {
				t.Errorf("behind the early response: %q", rest)
			}
			if line := s.AccessOf(t, "/"+name); line.Number("status") != 413 || line.Number("upstream_status") != 413 {
				t.Error(line)
			}
		})
	}
	t.Cleanup(func() {
		if strings.Contains(origin.Received(), "GET /smuggled HTTP/1.1\r\nHost: site.example\r\nX-F") {
			t.Error("the rest of a body was forwarded as a request")
		}
	})
}

// An origin that resets the connection right behind its early response.
func TestEarlyResponseOfAnOriginThatCloses(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		c.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		c.CloseWrite()
	})
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	c.Send(t, request("POST", "/", "Content-Length: 1000000")+"abc")
	expect(t, c.Response(t, "POST"), 403, "no")
	c.Closed(t)
}

// An origin that answers early and keeps reading gets the whole body, and both connections go on.
func TestEarlyResponseOfAnOriginThatKeepsReading(t *testing.T) {
	t.Parallel()
	text := harness.Pattern(500_000)
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			head := c.Head()
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
			if strings.HasPrefix(head, "POST") {
				if got := c.Read(len(text)); got != text {
					c.Fail("other bytes arrived than were sent")
				}
			}
			c.Send("4\r\nlate\r\n0\r\n\r\n")
		}
	})
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	c.Send(t, request("POST", "/", fmt.Sprintf("Content-Length: %d", len(text)))+text[:10])
	head := readHead(t, c)
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("%q", head)
	}
	if early := c.Read(t, len("5\r\nearly\r\n")); early != "5\r\nearly\r\n" {
		t.Errorf("%q", early)
	}
	c.Send(t, text[10:])
	if late := c.Read(t, len("4\r\nlate\r\n0\r\n\r\n")); late != "4\r\nlate\r\n0\r\n\r\n" {
		t.Errorf("%q", late)
	}
	expect(t, c.Do(t, request("GET", "/")), 200, "earlylate")
	if line := s.AccessOf(t, "/"); line.Number("bytes_in") != float64(len(text)) || line.Number("bytes_out") != 9 {
		t.Error(line)
	}
}

// The proxy's own answers to a request with a body: a rest that is small is dropped, a large one ends the connection.
func TestOwnAnswersWhileABodyIsUnread(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "hosts: [site.example]", "")
	c := s.dial(t)
	// 404 for the host; the body looks like a request.
	smuggled := request("GET", "/smuggled")
	c.Send(t, fmt.Sprintf("POST / HTTP/1.1\r\nHost: other\r\nContent-Length: %d\r\n\r\n%s", len(smuggled), smuggled))
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusNotFound {
		t.Error(r.Status)
	}
	expect(t, c.Do(t, request("GET", "/")), 200, "ok")

	c = s.dial(t)
	c.Send(t, "POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 10000000\r\n\r\n"+smuggled)
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusNotFound || !r.Close {
		t.Error(r.Status, r.Close)
	}
	c.Closed(t)
	if strings.Contains(origin.Received(), "smuggled") {
		t.Errorf("the origin received a body as a request: %q", origin.Received())
	}
}

func TestHalfClosedClientsGetTheirResponse(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	text := harness.Pattern(200_000)
	origin := script{
		"/get": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			<-release
			c.Send("HTTP/1.1 200 OK\r\n" + bodies(text)["chunked"])
			return true
		},
		"/post": func(c *harness.OriginConn, r *harness.OriginRequest) bool {
			<-release
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.Text), r.Text))
			return true
		},
	}.start(t)
	s := front(t, origin.Addr, "", "")
	get, post, two := s.dial(t), s.dial(t), s.dial(t)
	get.Send(t, request("GET", "/get"))
	get.CloseWrite(t)
	post.Send(t, request("POST", "/post", "Content-Length: 200000")+text)
	post.CloseWrite(t)
	two.Send(t, request("GET", "/get")+request("POST", "/post", "Content-Length: 3")+"abc")
	two.CloseWrite(t)
	s.AwaitMetric(t, 3, "active_requests")
	close(release)
	expect(t, get.Response(t, "GET"), 200, text)
	expect(t, post.Response(t, "POST"), 200, text)
	expect(t, two.Response(t, "GET"), 200, text)
	expect(t, two.Response(t, "POST"), 200, "abc")
	for _, c := range []*harness.Client{get, post, two} {
		c.Closed(t)
	}
}

// A body that the client does not finish is not one: the origin must not take what it has for the whole.
func TestHalfClosedClientsCannotFinishABodyEarly(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 8)
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		rest, _ := c.Rest()
		seen <- head[:strings.Index(head, " HTTP")] + " " + rest
	})
	s := front(t, origin.Addr, "", "")
	for path, body := range map[string]string{
		"/length": "Content-Length: 10\r\n\r\nabc", "/chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"/in-chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
	} {
		c := s.dial(t)
		c.Send(t, "POST "+path+" HTTP/1.1\r\nHost: h\r\n"+body)
		c.CloseWrite(t)
		if got := <-seen; strings.Contains(got, "0\r\n\r\n") || !strings.HasPrefix(got, "POST "+path) {
			t.Errorf("the origin saw %q", got)
		}
		c.Closed(t)
		if line := s.AccessOf(t, path); line.Number("status") != 499 || line.Text("reason") != "client_reset" {
			t.Error(line)
		}
	}
}

// An origin that sends its end of stream behind a whole response, or in front of one, is not an error by itself.
func TestHalfClosedOrigins(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	var half script = map[string]func(*harness.OriginConn, *harness.OriginRequest) bool{
		"/behind": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			c.Send(ok)
			c.CloseWrite()
			ended <- struct{}{}
			return true // it would still read
		},
		"/": says(ok),
	}
	origin := half.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for range 3 {
		expect(t, c.Do(t, request("GET", "/behind")), 200, "ok")
		<-ended                                                                  // what is on its way cannot be seen
		expect(t, c.Do(t, request("POST", "/", "Content-Length: 0")), 200, "ok") // not even a POST is lost on a stale connection
	}
}

// A client that goes away in the middle of its response: the origin is let go, and its connection is used for nothing else.
func TestClientsThatGoAway(t *testing.T) {
	t.Parallel()
	let := make(chan error, 2)
	piece := harness.Pattern(1 << 20)
	origin := script{
		"/": says(ok),
		"/length": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			for {
				if err := c.TrySend(piece); err != nil {
					let <- err
					return false
				}
			}
		},
		"/chunked": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if err := c.TrySend(strings.TrimSuffix(chunks(piece), "0\r\n\r\n")); err != nil {
					let <- err
					return false
				}
			}
		},
	}.start(t)
	s := front(t, origin.Addr, "", "")
	for _, path := range []string{"/length", "/chunked"} {
		c := s.dial(t)
		c.Send(t, request("GET", path))
		c.Read(t, 100_000)
		c.Reset()
		if err := <-let; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the origin is still waiting: %v", path, err)
		}
		if line := s.AccessOf(t, path); line.Text("reason") != "client_reset" || line.Number("status") != 200 || line.Number("bytes_out") < 50_000 {
			t.Error(line)
		}
	}
	for range 3 {
		expect(t, s.dial(t).Do(t, request("GET", "/")), 200, "ok")
	}
	s.AwaitMetric(t, 2, "aborted_responses_total", "reason", "client_reset")
	s.AwaitMetric(t, 0, "active_requests")
	if e := s.Endpoints(t, "web"); e[0].InFlight != 0 || e[0].ConsecutiveFailures != 0 {
		t.Errorf("a client's fault is an endpoint's: %+v", e)
	}
}

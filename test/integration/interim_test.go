package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const expects = "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			head := c.Head()
			if !strings.Contains(head, "\r\nExpect: 100-continue\r\n") && strings.HasPrefix(head, "POST") {
				c.Fail("the expectation was not forwarded: %q", head)
			}
			path := strings.Fields(head)[1]
			switch path {
			case "/says-so":
				c.Send("HTTP/1.1 100 Continue\r\n\r\n")
			case "/refuses":
				c.Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
				if rest, _ := c.Rest(); rest != "" {
					c.Fail("a connection on which a body is still due was used again: %q", rest)
				}
				return
			case "/answers":
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
				if rest, _ := c.Rest(); rest != "" {
					c.Fail("a connection on which a body is still due was used again: %q", rest)
				}
				return
			case "/":
				c.Send(ok)
				continue
			case "/says-nothing":
			}
			body := c.Read(3)
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)
		}
	})
	s := front(t, origin.Addr, "", "")

	for _, path := range []string{"/says-so", "/says-nothing"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			for range 2 {
				c.Send(t, fmt.Sprintf(expects, path))
				if r := c.Response(t, "POST"); r.StatusCode != http.StatusContinue {
					t.Fatalf("%d before the body was sent", r.StatusCode)
				}
				c.Send(t, "abc")
				expect(t, c.Response(t, "POST"), 200, "abc")
			}
			expect(t, c.Do(t, request("GET", "/")), 200, "ok")
		})
	}
	for path, want := range map[string]int{"/refuses": 417, "/answers": 200} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			c.Send(t, fmt.Sprintf(expects, path))
			if r := c.Response(t, "POST"); r.StatusCode != want {
				t.Fatalf("%d, want %d without 100 before", r.StatusCode, want)
			}
			// A client that got a final answer may send the body or not: nothing behind this is a request.
			_ = c.TrySend("abc" + request("GET", "/smuggled"))
			if rest, _ := c.Rest(); rest != "" {
				t.Errorf("behind the final answer: %q", rest)
			}
		})
	}
	t.Run("sends without waiting", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		c.Send(t, fmt.Sprintf(expects, "/says-so")+"abc")
		r := c.Response(t, "POST")
		if r.StatusCode == http.StatusContinue {
			r = c.Response(t, "POST")
		}
		expect(t, r, 200, "abc")
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	})
	t.Run("unknown expectation", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		c.Send(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 200-ok\r\n\r\n")
		if r := c.Response(t, "POST"); r.StatusCode != http.StatusExpectationFailed || !strings.Contains(r.Text, "expectation_failed") || !r.Close {
			t.Error(r.StatusCode, r.Text)
		}
	})
	t.Run("the proxy's own answer", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		c.Send(t, "TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		if r := c.Response(t, "TRACE"); r.StatusCode != http.StatusMethodNotAllowed || !r.Close {
			t.Error(r.StatusCode, r.Header)
		}
	})
}

func TestEarlyHintsArePassedOn(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := script{
		"/": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			c.Send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
			<-release // the hints are of use only in front of the response
			c.Send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\nConnection: keep-alive, X, Connection\r\nX: 1\r\nKeep-Alive: 5\r\n\r\n" + ok)
			return true
		},
		"/100":  says("HTTP/1.1 100 Continue\r\n\r\n" + ok), // unasked
		"/many": says(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1000) + ok),
		"/body": says("HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc" + ok),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	c.Send(t, request("GET", "/"))
	if r := c.Response(t, "GET"); r.StatusCode != http.StatusProcessing {
		t.Error(r.Status)
	}
	if r := c.Response(t, "GET"); r.StatusCode != http.StatusEarlyHints || r.Header.Get("Link") != "</a.css>; rel=preload" || len(r.Header) != 1 {
		t.Error(r.Status, r.Header)
	}
	close(release)
	if r := c.Response(t, "GET"); r.StatusCode != http.StatusEarlyHints || r.Header.Get("Link") != "</b.css>" {
		t.Error(r.Status, r.Header)
	}
	expect(t, c.Response(t, "GET"), 200, "ok")
	// The raw bytes, because readers of responses hide some of these fields.
	if got, want := c.Received(), "HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\n"; !strings.Contains(got, want) {
		t.Errorf("%q is not in %q", want, got)
	}
	expect(t, c.Do(t, request("GET", "/100")), 200, "ok")
	for _, path := range []string{"/many", "/body"} {
		c.Send(t, request("GET", path))
		r := c.Response(t, "GET")
		for r.StatusCode == http.StatusEarlyHints {
			r = c.Response(t, "GET")
		}
		if r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, "upstream_protocol") {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.Text)
		}
	}
	if line := s.AccessOf(t, "/"); line.Number("status") != 200 || line.Number("upstream_status") != 200 {
		t.Error(line)
	}
}

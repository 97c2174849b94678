package reliability

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var bombs = scenario{
	name:  "bombs",
	title: "heads and uploads without end, beside 50 ordinary clients",
	run: func(t *testing.T, r *run) {
		field := "X-" + strings.Repeat("a", 100) + ": " + strings.Repeat("b", 900) + "\r\n"
		chunk := strconv.FormatInt(64<<10, 16) + "\r\n" + strings.Repeat("c", 64<<10) + "\r\n"
		for _, c := range []struct {
			what, protocol, head, more string
			status                     string // of the answer; "": none is due
			service                    string
		}{
			{"heads", "", "GET / HTTP/1.1\r\nHost: load\r\n", field, "431", ""},
			{"heads over TLS", "http/1.1", "GET / HTTP/1.1\r\nHost: load\r\n", field, "431", ""},
			{"chunked uploads, above limits.max_body_bytes", "", "POST / HTTP/1.1\r\nHost: load\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, "413", "    limits: {max_body_bytes: 1000000}\n"},
			{"uploads to an upstream that does not take them", "", "POST / HTTP/1.1\r\nHost: load\r\nContent-Length: 1000000000000\r\n\r\n", chunk, "", ""},
			{"uploads over TLS to an upstream that does not take them", "http/1.1", "POST / HTTP/1.1\r\nHost: load\r\nContent-Length: 1000000000000\r\n\r\n", chunk, "", ""},
		} {
			r.part(t, c.what, func(t *testing.T) {
				s := besiege(t, r, "header_timeout_ms: 3000", c.service, takeNothing)
				clients := r.of(100, 500)
				var sent, answered, ended atomic.Int64
				var running sync.WaitGroup
				stop := make(chan struct{})
				for i := range clients {
					running.Go(func() {
						conn, err := s.open(i, c.protocol)
						if err != nil {
							return
						}
						defer conn.Close()
						status := bomb(conn, c.head, c.more, &sent, stop)
						switch {
						case status != "" && status == c.status:
							answered.Add(1)
						case status == "":
							ended.Add(1)
						}
					})
				}
				time.AfterFunc(time.Duration(r.of(3, 10))*time.Second, func() { close(stop) })
				running.Wait()
				seen := fmt.Sprintf("%d clients sent %.0f MiB; ", clients, float64(sent.Load())/(1<<20))
				if c.status != "" {
					seen += fmt.Sprintf("%d were answered with %s, ", answered.Load(), c.status)
				}
				s.reports(t, r, c.what, seen+fmt.Sprintf("%d got no answer", ended.Load()), 64)
				if c.status != "" && answered.Load() == 0 {
					t.Errorf("nobody was answered with %s", c.status)
				}
			})
		}
	},
}

// takeNothing reads the head of a request, and then nothing.
func takeNothing(c *harness.OriginConn) {
	c.Head()
	for c.Conn.SetDeadline(time.Time{}) == nil { // until it is closed
		harness.Breathe()
	}
}

// bomb sends more and more until there is an answer, whose status it returns, or no more is taken, or stop is closed.
func bomb(conn net.Conn, head, more string, sent *atomic.Int64, stop <-chan struct{}) string {
	answer := make(chan string, 1)
	go func() {
		line := make([]byte, 64)
		n, _ := io.ReadAtLeast(conn, line, 12)
		_, rest, _ := bytes.Cut(line[:n], []byte(" "))
		answer <- string(rest[:min(3, len(rest))])
	}()
	_, err := io.WriteString(conn, head)
	for err == nil {
		select {
		case <-stop:
			_ = conn.Close()
			return <-answer
		case status := <-answer:
			return status
		default:
		}
		var n int
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err = io.WriteString(conn, more)
		sent.Add(int64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) { // a TLS connection writes nothing any more then
			<-stop
			_ = conn.Close()
			return <-answer
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	return <-answer
}

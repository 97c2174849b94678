package reliability

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var idle = scenario{
	name:  "idle",
	title: "connections that are kept open and say nothing, beside 50 ordinary clients",
	run: func(t *testing.T, r *run) {
		clients := r.of(500, 10_000)
		for _, c := range []struct {
			what, protocol string
			bound          float64 // KiB for each connection; 0: none
		}{
			{"over HTTP/1.1", "", 8}, {"over TLS", "http/1.1", 20}, {"over HTTP/2 and TLS", "h2", 0},
		} {
			r.part(t, c.what, func(t *testing.T) {
				s := besiege(t, r, "max_connections: 12000", "    timeouts: {idle_secs: 600}\n    routes: [{name: all, filters: [{respond: {code: 204}}]}]\n", answerEndlessly)
				before := s.settled(t)
				var conns []net.Conn
				var mu sync.Mutex
				each(t, clients, 32, func(i int) error {
					conn, err := s.open(i, c.protocol)
					if err != nil {
						return err
					}
					mu.Lock()
					conns = append(conns, conn)
					mu.Unlock()
					_ = conn.SetDeadline(time.Now().Add(harness.Patience))
					if err := askIdle(conn, c.protocol == "h2", 1); err != nil {
						return err
					}
					return conn.SetDeadline(time.Time{})
				})
				holds := func() float64 { return (s.settled(t) - before) / float64(clients) / (1 << 10) }
				atOnce := holds()
				perClient := atOnce
				for began := time.Now(); r.long && time.Since(began) < 40*time.Second; { // the handshakes' garbage goes when it is quiet
					perClient = holds()
				}
				each(t, clients, 32, func(i int) error { // whoever closes them saves memory without holding them
					_ = conns[i].SetDeadline(time.Now().Add(harness.Patience))
					return askIdle(conns[i], c.protocol == "h2", 3)
				})
				for _, conn := range conns {
					_ = conn.Close()
				}
				harness.Eventually(t, "the connections have ended", func() bool {
					open, err := s.value("pingora_proxy_open_connections")
					return err == nil && open <= 60
				})
				s.reports(t, r, c.what, fmt.Sprintf("%d connections, %.1f KiB for each at once, %.1f KiB in the end, all of them answered again", clients, atOnce, perClient), float64(clients)*64/1024)
				if r.long && c.bound > 0 && perClient > c.bound {
					t.Errorf("%s: %.1f KiB for each connection, %.0f are the bound", c.what, perClient, c.bound)
				}
			})
		}
	},
}

// settled is what the process holds in memory when that changes no more.
func (s *siege) settled(t *testing.T) float64 {
	t.Helper()
	was, since := 0.0, time.Now()
	for began := time.Now(); time.Since(began) < harness.Patience; harness.Breathe() {
		now, err := held(s.PID())
		if err != nil {
			t.Fatal(err)
		}
		if diff := now.resident - was; diff > 256<<10 || diff < -256<<10 {
			was, since = now.resident, time.Now()
		} else if time.Since(since) > time.Second {
			break
		}
	}
	return was
}

// each calls f for 0 to n-1, so many at a time.
func each(t *testing.T, n, at int, f func(i int) error) {
	t.Helper()
	errs := make([]error, at)
	var running sync.WaitGroup
	for w := range at {
		running.Go(func() {
			for i := w; i < n && errs[w] == nil; i += at {
				errs[w] = f(i)
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// askIdle makes a request, which the proxy answers itself with 204, and reads the answer. Over HTTP/2 it has the stream's number.
func askIdle(conn net.Conn, over2 bool, stream uint32) error {
	if !over2 {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: load\r\n\r\n"); err != nil {
			return err
		}
		var head []byte
		for one := make([]byte, 512); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
			n, err := conn.Read(one)
			if err != nil {
				return err
			}
			head = append(head, one[:n]...)
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 204 ")) {
			return fmt.Errorf("the answer is %q", head)
		}
		return nil
	}
	var out bytes.Buffer
	f := http2.NewFramer(&out, conn)
	if stream == 1 {
		out.WriteString(http2.ClientPreface)
		_ = f.WriteSettings()
		_ = f.WriteSettingsAck()
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block("GET"), EndHeaders: true, EndStream: true})
	if _, err := conn.Write(out.Bytes()); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamID == stream {
				return nil
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("the answer is %v", frame)
		}
	}
}

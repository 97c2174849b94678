package reliability

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var storm = scenario{
	name:  "storm",
	title: "connections storm in, beside 50 ordinary clients that keep theirs",
	alone: true,
	run: func(t *testing.T, r *run) {
		for _, c := range []struct {
			what   string
			secure bool
			sent   string
			leave  bool // at once, and not when there is an answer
		}{
			{"with a request each", false, "GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n", false},
			{"without a byte", false, "", true},
			{"TLS handshakes that stop in their middle, and stay", true, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true},
		} {
			r.part(t, c.what, func(t *testing.T) {
				length := r.of(2, 30)
				s := besiege(t, r, "max_connections: 12000", "    routes: [{name: all, filters: [{respond: {code: 204}}]}]\n", answerEndlessly)
				address, kept := s.plain, make(chan net.Conn, 100_000)
				if c.secure {
					address = s.secure
				}
				until := time.Now().Add(time.Duration(length) * time.Second)
				var made, refused atomic.Int64
				var running sync.WaitGroup
				for w := range 16 {
					running.Go(func() {
						for i := w; time.Now().Before(until); i += 16 {
							conn, err := from(i%40_000).Dial("tcp", address) //nolint:noctx // the dialer has a time-out
							if err != nil {
								refused.Add(1)
								continue
							}
							made.Add(1)
							if tcp, ok := conn.(*net.TCPConn); ok {
								_ = tcp.SetLinger(0) // no port stays taken
							}
							_, _ = conn.Write([]byte(c.sent))
							if c.secure && len(kept) < 9000 { // descriptors of this process are bounded, too
								kept <- conn
								continue
							}
							if !c.leave {
								_ = conn.SetDeadline(time.Now().Add(harness.Patience))
								if n, _ := conn.Read(make([]byte, 1024)); n == 0 {
									refused.Add(1)
								}
							}
							_ = conn.Close()
						}
					})
				}
				running.Wait()
				seen := fmt.Sprintf("%d connections in %d s, %d of them not made or not answered", made.Load(), length, refused.Load())
				if c.secure {
					cut, err := s.value(`pingora_proxy_rejected_connections_total{reason="too_many_handshakes"}`)
					if err != nil {
						cut = 0
					}
					seen += fmt.Sprintf(", %.0f cut off because too many handshakes had begun", cut)
					if cut == 0 && made.Load() > 6000 {
						t.Error("nothing bounds handshakes that have begun")
					}
					conn, err := s.open(0, "http/1.1")
					if err != nil {
						t.Errorf("an honest client beside them: %v", err)
					} else {
						_ = conn.Close()
					}
				}
				close(kept)
				for conn := range kept {
					_ = conn.Close()
				}
				if r.long && c.secure { // what is left of a peak goes back to the system when it is over
					resident, after := 0.0, time.Now()
					for time.Since(after) < 2*time.Minute && (resident == 0 || resident > s.before+16<<20) {
						time.Sleep(time.Second)
						now, err := held(s.PID())
						if err != nil {
							t.Fatal(err)
						}
						resident = now.resident
					}
					seen += fmt.Sprintf("; %.1f MiB resident %.0f s later", resident/(1<<20), time.Since(after).Seconds())
				}
				s.reports(t, r, c.what, seen, 256)
			})
		}
	},
}

package reliability

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var descriptorsGone = scenario{
	name:  "descriptors",
	title: "clients take all file descriptors (EMFILE), and leave",
	may:   "requests that need a connection of their own: 503 `proxy_exhausted`",
	run: func(t *testing.T, r *run) {
		// Whoever asks here gets no answer, and holds two descriptors.
		silent := harness.StartRawOrigin(t, func(c *harness.OriginConn) { _, _ = c.Rest() })
		var clients []net.Conn
		trouble{
			globals: "", requests: r.of(1500, 100_000), rate: r.of(400, 2000), fresh: -1,
			service:  fmt.Sprintf("  - name: silent\n    bind_address: '127.0.0.2:0'\n    upstreams: ['%s']\n    health_check: {type: Disabled, passive: {consecutive_errors: 1}}\n", silent.Addr),
			failures: []string{"503 proxy_exhausted"},
			begin: func(t *testing.T, p *harness.Proxy) {
				open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
				if err != nil {
					t.Fatal(err)
				}
				limit(t, p, unix.RLIMIT_NOFILE, uint64(len(open)+100))
				address := p.Addr(t, "silent")
				for range 200 { // half of them find no descriptor, and wait in the kernel
					conn, err := net.Dial("tcp", address) //nolint:noctx // local
					if err != nil {
						t.Fatal(err)
					}
					clients = append(clients, conn)
					_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
				}
			},
			shows: func(t *testing.T, o *observer) string {
				o.said(t, "cannot accept connections for now")
				before, busy := o.awaits(t, "accept_errors_total", 0), processorTime(t, o.PID())
				exhausted := o.awaits(t, `upstream_errors_total{reason="proxy_exhausted"}`, 0)
				o.said(t, "connections to endpoints cannot be opened")
				time.Sleep(2 * time.Second) // what it does on its own meanwhile is measured
				failed, err := o.value("pingora_proxy_accept_errors_total")
				if err != nil {
					t.Fatal(err)
				}
				if failed-before > 2*200+10 { // a pause of 5 ms at the least
					t.Errorf("%.0f attempts to accept in two seconds", failed-before)
				}
				return fmt.Sprintf("%.0f requests of others answered with 503, %.1f attempts to accept a second; %.0f %% of a processor with the load; said in the log",
					exhausted, (failed-before)/2, 50*(processorTime(t, o.PID())-busy))
			},
			end: func(*testing.T, *harness.Proxy) {
				for _, conn := range clients {
					_ = conn.Close()
				}
				silent.Close() // who waits for an answer does not read from its client
			},
			passed: func(t *testing.T, o *observer) {
				harness.Eventually(t, "a new client is served", func() bool {
					conn := harness.Dial(t, o.Addr(t, "web"))
					response, err := conn.TryResponseTo("GET /check HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
					return err == nil && response.StatusCode == http.StatusOK
				})
				o.WriteConfig(t, strings.Replace(configOf(t, o.Proxy), "\nservices:", "\nlimits: {max_connections: 4000}\nservices:", 1))
				o.said(t, "there are not descriptors enough for limits.max_connections")
			},
		}.reports(t, r)
	},
}

func configOf(t *testing.T, p *harness.Proxy) string {
	t.Helper()
	text, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// processorTime is what a process has used of processors, in seconds.
func processorTime(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // proc_pid_stat(5): from field 3 on
	sum := 0.0
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += ticks / 100 // USER_HZ
	}
	return sum
}

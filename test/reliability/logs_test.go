package reliability

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// longTarget makes lines of the access log long: so many fill its memory soon.
var longTarget = "/load/" + strings.Repeat("long", 800)

var logFull = scenario{
	name:  "log-full",
	title: "the disk of the access log is full, and has room again",
	run: func(t *testing.T, r *run) {
		path, globals := logged(t)
		var restore func(*testing.T)
		p, sent := trouble{
			globals: globals, target: longTarget, requests: r.of(1500, 100_000), rate: r.of(400, 2000),
			begin: func(t *testing.T, p *harness.Proxy) {
				// The file may not grow beyond what it has and a part of a line: that is written in part, as on a full disk.
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				restore = limit(t, p, unix.RLIMIT_FSIZE, uint64(info.Size())+12345)
			},
			shows: func(t *testing.T, o *observer) string {
				o.said(t, "cannot write the access log")
				return fmt.Sprintf("%.0f lines dropped and counted after %.0f failed writes, each second one; said in the log",
					o.awaits(t, "access_log_dropped_total", 0), o.awaits(t, "access_log_write_errors_total", 0))
			},
			end:    func(t *testing.T, _ *harness.Proxy) { restore(t) },
			passed: func(t *testing.T, o *observer) { o.said(t, "the access log can be written again") },
		}.reports(t, r)
		dropped := p.Metric(t, "pingora_proxy_access_log_dropped_total")
		if code := p.Stop(t); code != 0 {
			t.Errorf("it ended with %d", code)
		}
		// Every request is a whole line, or counted.
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		whole := 0
		for lines.Scan() {
			if !json.Valid(lines.Bytes()) {
				t.Errorf("not a line: %.200s", lines.Text())
			}
			whole++
		}
		if whole+int(dropped) != sent {
			t.Errorf("%d lines and %v that were dropped, of %d requests", whole, dropped, sent)
		}
	},
}

var logPipe = scenario{
	name:  "log-pipe",
	title: "both logs go to pipes",
	run: func(t *testing.T, r *run) {
		x := trouble{
			globals: "access_log: {path: stdout}", target: longTarget, requests: r.of(1500, 100_000), rate: r.of(400, 2000),
			env: []string{"LOG_LEVEL=debug"},
			shows: func(t *testing.T, o *observer) string {
				bad(t, o)
				return fmt.Sprintf("%.0f lines of the access log and %.0f of the process log dropped and counted",
					o.awaits(t, "access_log_dropped_total", 0), o.awaits(t, "log_dropped_total", 0))
			},
		}
		stuck := x
		stuck.what = "their reader stops reading, and goes on"
		stuck.begin = func(_ *testing.T, p *harness.Proxy) { p.Deafen() }
		stuck.end = func(_ *testing.T, p *harness.Proxy) { p.Hear() }
		stuck.passed = func(t *testing.T, o *observer) {
			o.said(t, "the access log can be written again")
			o.said(t, "lines of this log were lost")
		}
		r.part(t, stuck.what, func(t *testing.T) { stuck.reports(t, r) })
		closed := x
		closed.what = "their reader closes them"
		closed.begin = func(_ *testing.T, p *harness.Proxy) { p.HangUp() }
		closed.end = func(*testing.T, *harness.Proxy) {}
		r.part(t, closed.what, func(t *testing.T) {
			p, _ := closed.reports(t, r)
			if code := p.Stop(t); code != 0 {
				t.Errorf("it ended with %d", code)
			}
		})
	},
}

// bad sends requests that are refused, of which the process log says at level debug why, until its lines find no room.
func bad(t *testing.T, o *observer) {
	t.Helper()
	address := o.Addr(t, "web")
	for range 100 {
		for range 200 {
			conn, err := net.Dial("tcp", address) //nolint:noctx // local
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n"))
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if lost, err := o.value("pingora_proxy_log_dropped_total"); err == nil && lost > 0 {
			return
		}
	}
}

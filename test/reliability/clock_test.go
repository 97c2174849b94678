package reliability

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Nobody but root sets the clock of a machine, and a time namespace has no real-time clock of its own. So the program is built
// with a package time whose Now adds what a file says: everything that reads the clock on the wall sees it jump, and what is
// measured between two readings goes by the monotonic clock, as after a real jump. That build takes minutes; the tests of
// every day hold to it that no package measures by the wall (test/architecture).
var clock = scenario{
	name:  "clock",
	title: "the clock is set hours forwards and backwards",
	run: func(t *testing.T, r *run) {
		if !r.long {
			t.Log("a part of make soak alone")
			return
		}
		file := filepath.Join(t.TempDir(), "offset")
		set := func(by time.Duration) {
			var offset [8]byte
			binary.LittleEndian.PutUint64(offset[:], uint64(int64(by/time.Second)))
			f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = f.WriteAt(offset[:], 0) // in place: it is mapped
				_ = f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		set(0)
		path, log := logged(t)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 2)
		p := harness.Start(t, fmt.Sprintf(`%s
limits: {drain_timeout_secs: 2} # which WebSockets are given
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s', '%s']
    health_check: {type: HTTP, path: /check, frequency_secs: 1, unhealthy_threshold: 1, passive: {consecutive_errors: 1}}
  - name: limited
    bind_address: '127.0.0.2:0'
    upstreams: ['%s']
    rate_limits: [{name: all, requests: 3, period_secs: 3600}]
`, log, addrs[0], addrs[1], addrs[0]), harness.Options{Program: jumping(t), Env: []string{"TEST_CLOCK=" + file}})
		address, limited := p.Addr(t, "web"), p.URL(t, "limited")
		get := func() int {
			response, err := http.Get(limited + "/check") //nolint:noctx // local
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			return response.StatusCode
		}
		for i := range 4 {
			if status := get(); (status == 429) != (i == 3) {
				t.Errorf("request %d of 3 in an hour: %d", i+1, status)
			}
		}
		sockets := traffic.OpenSockets(t, address, 20, 100*time.Millisecond)
		load := traffic.Start(t, traffic.Options{Addr: address, Workers: 16, Rate: 1000, FreshPercent: -1})
		load.Await(t, 1000)
		jumps := []time.Duration{5 * time.Hour, -5 * time.Hour, 0, 1000 * time.Hour, time.Minute, 0}
		for _, by := range jumps {
			set(by)
			load.Await(t, r.of(1000, 5000))
			if status := get(); status != 429 {
				t.Errorf("the clock gives %v, and what was above the limit gets %d", by, status)
			}
		}
		tally := load.Stop()
		lost := sockets.Stop()
		row := counted(t, ledger, tally)
		for _, text := range lost {
			t.Error(text)
		}
		if tally.Reopened > 0 {
			t.Errorf("%d connections were closed", tally.Reopened)
		}
		if code := p.Stop(t); code != 0 {
			t.Errorf("it ended with %d", code)
		}
		for _, line := range p.Log() {
			if text := line.Text("msg"); strings.Contains(text, "unhealthy") || strings.Contains(text, "ejected") {
				t.Errorf("%v", line)
			}
		}
		longest, span := durationsIn(t, path)
		if span < 1000*time.Hour || longest > 30_000 {
			t.Errorf("the access log spans %v, and its longest request took %.0f ms", span, longest)
		}
		row.seen = fmt.Sprintf("%d jumps of up to 1,000 hours; no connection closed, %d WebSockets with %d messages, %d of them lost; the longest request of the log took %.0f ms",
			len(jumps), 20, sockets.Messages(), len(lost), longest)
		r.report(t, row)
	},
}

// durationsIn reads an access log: the longest duration, in milliseconds, and the time between its first and its last line.
func durationsIn(t *testing.T, path string) (longest float64, span time.Duration) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var first, last time.Time
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct {
			TS       time.Time `json:"ts"`
			Duration float64   `json:"duration_ms"`
			Protocol string
			Status   int
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Duration < 0 {
			t.Errorf("%s", lines.Text())
		}
		if line.Status != http.StatusSwitchingProtocols {
			longest = max(longest, line.Duration)
		}
		if first.IsZero() || line.TS.Before(first) {
			first = line.TS
		}
		if line.TS.After(last) {
			last = line.TS
		}
	}
	return longest, last.Sub(first)
}

// jumping builds the program with a clock that goes by a file, which TEST_CLOCK names: eight bytes, the seconds to add.
func jumping(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(text), reading) != 1 {
		t.Fatalf("time.Now of %s is another one: the clock cannot be made to jump", runtime.Version())
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(source, "time.go"): write("time.go", strings.Replace(string(text), reading, reading+"\tsec += jumped()\n", 1)),
		filepath.Join(source, "jump.go"): write("jump.go", jump),
	}})
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "pingora-proxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-overlay", write("overlay.json", string(overlay)), "-o", program, "./cmd/pingora-proxy")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

const jump = `package time

import "syscall"

var jumps = mapped()

func mapped() []byte {
	name, ok := syscall.Getenv("TEST_CLOCK")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err.Error())
	}
	return b
}

func jumped() (sec int64) {
	for i := len(jumps) - 1; i >= 0; i-- {
		sec = sec<<8 | int64(jumps[i])
	}
	return sec
}
`

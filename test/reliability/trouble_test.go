package reliability

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A trouble befalls what a proxy uses beside its upstreams: logs, names, counters, descriptors. Requests go on, the trouble
// shows, the process does not grow, and everything is as before when it is over.
type trouble struct {
	// what tells its row from others of the case.
	what string
	// globals and service are lines of the configuration: beside the services, and of the one service.
	globals, service string
	env              []string
	// target is what is asked for; "/load".
	target string
	// requests are sent while it lasts, at that many a second; fresh is the share of them on connections of their own.
	requests, rate, fresh int
	// failures are answers that may come instead of 200, "503 proxy_exhausted".
	failures []string
	// begin makes it happen. shows waits until it is seen where an operator looks, and says how. end makes it pass; passed waits
	// until that is seen, and may be nil.
	begin  func(t *testing.T, p *harness.Proxy)
	shows  func(t *testing.T, p *observer) string
	end    func(t *testing.T, p *harness.Proxy)
	passed func(t *testing.T, p *observer)
}

// reports makes it happen under load, and reports a row. It returns the proxy, which still runs, and how many requests it had.
func (x trouble) reports(t *testing.T, r *run) (*harness.Proxy, int) {
	t.Helper()
	ledger := harness.NewLedger(t)
	_, addrs := processes(t, ledger, 2)
	p := harness.Start(t, fmt.Sprintf(`%s
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s', '%s']
    health_check: {type: HTTP, path: /check, frequency_secs: %d, unhealthy_threshold: 1}
%s
`, x.globals, addrs[0], addrs[1], interval, x.service), harness.Options{Env: x.env, Measured: true})
	o := observe(t, p)
	load := traffic.Start(t, traffic.Options{
		Addr: p.Addr(t, "web"), Workers: 8, Target: x.target, Rate: x.rate, FreshPercent: x.fresh,
	})
	load.Await(t, x.rate/2)
	x.begin(t, p)
	if r.long { // until what there is to fill is full: for as long again, or the slope is that of the first minute
		load.Await(t, x.requests)
	} else {
		load.Await(t, x.requests/4)
	}
	watch := o.watch(t)
	load.Await(t, x.requests)
	shows := x.shows(t, o)
	held := watch.stop()
	x.end(t, p)
	if x.passed != nil {
		x.passed(t, o)
	}
	load.Await(t, x.rate/2)
	tally := load.Stop()
	row := counted(t, ledger, tally)
	row.what, row.mayFail = x.what, -1
	for _, reason := range x.failures {
		row.failed += tally.ByReason[reason]
		row.lost -= tally.ByReason[reason]
	}
	row.seen = shows + "; " + held.String()
	r.report(t, row)
	for _, complaint := range held.complaints(r.long) {
		t.Error(complaint)
	}
	for _, line := range p.Log() {
		if strings.Contains(line.Text("msg"), "unhealthy") || strings.Contains(line.Text("msg"), "ejected") {
			t.Errorf("an endpoint was taken out: %v", line)
		}
	}
	return p, tally.Sent
}

// An observer reads a proxy's metrics over a connection that it keeps: where descriptors are short, there is none for another.
type observer struct {
	*harness.Proxy
	client  *http.Client
	metrics string
}

func observe(t *testing.T, p *harness.Proxy) *observer {
	t.Helper()
	o := &observer{Proxy: p, metrics: "http://" + p.MetricsAddr(t) + "/metrics", client: &http.Client{
		Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: harness.Patience,
	}}
	t.Cleanup(o.client.CloseIdleConnections)
	if _, err := o.value("go_goroutines"); err != nil {
		t.Fatal(err)
	}
	return o
}

// value is the sum of all series of a metric.
func (o *observer) value(name string) (sum float64, err error) {
	response, err := o.client.Get(o.metrics) //nolint:noctx // the client has a time-out
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			return 0, err
		}
		found, sum = true, sum+value
	}
	if !found {
		return 0, fmt.Errorf("there is no %s", name)
	}
	return sum, nil
}

// awaits waits until a metric of the proxy is above a value, and returns what it is.
func (o *observer) awaits(t *testing.T, name string, above float64) (value float64) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s is above %v", name, above), func() bool {
		var err error
		value, err = o.value("pingora_proxy_" + name)
		return err == nil && value > above
	})
	return value
}

// said waits for a message of the process log.
func (o *observer) said(t *testing.T, part string) {
	t.Helper()
	o.AwaitLog(t, part, func(l harness.Line) bool { return strings.Contains(l.Text("msg"), part) })
}

// watch takes samples of the process.
func (o *observer) watch(t *testing.T) *watch {
	w := &watch{stopped: make(chan struct{}), done: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stopped:
				return
			case <-time.After(200 * time.Millisecond):
			}
			now, err := held(o.PID())
			if err == nil {
				now.at = time.Since(began)
				now.goroutines, err = o.value("go_goroutines")
			}
			if err == nil {
				now.live, err = o.value("go_memstats_next_gc_bytes")
				now.live /= 2 // see scraped
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.samples = append(w.samples, now)
		}
	}()
	return w
}

// limit sets what the process may have of something, and returns what takes that back. No privilege is needed to lower the
// limit that is in effect and to raise it again.
func limit(t *testing.T, p *harness.Proxy, resource int, to uint64) (restore func(t *testing.T)) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Prlimit(p.PID(), resource, nil, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(p.PID(), resource, &unix.Rlimit{Cur: to, Max: was.Max}, nil); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		if err := unix.Prlimit(p.PID(), resource, &was, nil); err != nil {
			t.Fatal(err)
		}
	}
}

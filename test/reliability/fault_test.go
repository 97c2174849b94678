package reliability

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A fault befalls one of three upstreams, while others serve.
type fault struct {
	// what tells its row from others of the case; which protocol upstreams speak unless it is set.
	what string
	// begin makes it happen and end makes it pass, to the upstream with a number.
	begin, end func(t *testing.T, upstream int)
	// addrs are the upstreams, as the proxy knows them; protocol is what they speak, HTTP unless it is set.
	addrs    []string
	protocol string
	// target is what is asked for; "/load".
	target string
	// idempotent are the methods of which nothing may be lost where a retry is legal; GET, HEAD and DELETE.
	idempotent []string
	// gets and posts are the answers with which idempotent requests and POSTs may fail: "502 upstream_reset".
	gets, posts []string
	// cut says that responses may be cut short, where that shows.
	cut bool
	// unseen says that checks do not notice it.
	unseen bool
	// rounds is how often it happens, to one upstream after the other; requests are sent before, meanwhile and afterwards, so
	// many each time and over each protocol.
	rounds, requests int
	// patience is how long a try and a check may take; without it as long as the request, and for a check 3 s.
	patience time.Duration
	// rate is that of all requests together, a second.
	rate int
}

// protocols are what upstreams speak, where a fault has something to do with it.
var protocols = []string{"HTTP", "H2C"}

// interval is that of the checks, in seconds.
const interval = 1

// reports runs the fault under load over HTTP/1.1, TLS and HTTP/2 at once, and reports one row.
func (f fault) reports(t *testing.T, r *run, ledger *harness.Ledger) {
	t.Helper()
	path, log := logged(t)
	certificate, trust := secured(t, "load")
	p := harness.Start(t, log+f.config(certificate), harness.Options{})
	var gets, posts []*traffic.Load
	for _, o := range []traffic.Options{
		{Addr: p.Addr(t, "plain")},
		{Addr: p.Addr(t, "secure"), TLS: trust},
		{Addr: p.Addr(t, "secure"), TLS: trust, HTTP2: true},
	} {
		o.Workers, o.Target, o.Rate = 8, f.target, f.rate/6
		o.Methods = f.idempotent
		if len(o.Methods) == 0 {
			o.Methods = []string{"GET", "HEAD", "DELETE"}
		}
		gets = append(gets, traffic.Start(t, o))
		o.Methods = []string{"POST"}
		posts = append(posts, traffic.Start(t, o))
	}
	await := func() { awaitAll(t, f.requests, slices.Concat(gets, posts)) }
	back := recovery{}
	for round := range f.rounds {
		i := round % len(f.addrs)
		await()
		f.begin(t, i)
		await()
		if !f.unseen {
			for _, service := range []string{"plain", "secure"} {
				harness.Eventually(t, "checks have noticed", func() bool { return !endpoint(t, p, service, f.addrs[i]).Healthy })
			}
		}
		ended := time.Now()
		f.end(t, i)
		for _, service := range []string{"plain", "secure"} {
			back.add(recovers(t, p, service, f.addrs[i], ended))
		}
		await()
	}
	f.judge(t, r, ledger, gets, posts, back, func() map[string]int { return reasons(t, path) })
}

func (f fault) config(certificate string) string {
	var backends strings.Builder
	for _, addr := range f.addrs {
		fmt.Fprintf(&backends, "{address: '%s', protocol: %s}, ", addr, cmp.Or(f.protocol, "HTTP"))
	}
	var b strings.Builder
	b.WriteString("services:\n")
	try := ""
	if f.patience > 0 {
		try = fmt.Sprintf(", per_try_timeout_ms: %d", f.patience.Milliseconds())
	}
	for _, service := range []string{"name: plain\n    bind_address: '127.0.0.1:0'", "name: secure\n    bind_address: '127.0.0.2:0'\n    tls: true\n    tls_config: " + certificate} {
		fmt.Fprintf(&b, `  - %s
    backends: [%s]
    health_check: {type: HTTP, path: /check, frequency_secs: %d, timeout_ms: %d, unhealthy_threshold: 1}
    retry: {budget_percent: 100%s}
`, service, backends.String(), interval, cmp.Or(f.patience, 3*time.Second).Milliseconds(), try)
	}
	return b.String()
}

// judge makes the row of what clients, origins and the access log have counted, and compares them.
func (f fault) judge(t *testing.T, r *run, ledger *harness.Ledger, gets, posts []*traffic.Load, back recovery, logged func() map[string]int) {
	t.Helper()
	row := row{what: cmp.Or(f.what, map[string]string{"HTTP": "upstreams speak HTTP/1.1", "H2C": "upstreams speak HTTP/2"}[f.protocol]), mayFail: -1}
	failures := map[string]int{}
	answered := 0 // of the idempotent ones
	for i, load := range slices.Concat(gets, posts) {
		tally, may := load.Stop(), f.posts
		if i < len(gets) {
			may, answered = f.gets, answered+tally.Answered
		}
		row.sent += tally.Sent
		row.answered += tally.Answered
		failed := 0
		for _, reason := range may {
			failed += tally.ByReason[reason]
			if n := tally.ByReason[reason]; n > 0 {
				failures[reason] += n
			}
		}
		if f.cut && tally.Cut > 0 {
			failed += tally.Cut
			failures["200 upstream_truncated"] += tally.Cut
		}
		row.failed += failed
		if row.lost += tally.Lost - failed; tally.Lost > failed {
			row.losses = append(row.losses, f.unexpected(tally.Losses, may)...)
		}
	}
	replayed, _ := ledger.Replayed(t, "POST")
	row.replayed = len(replayed)
	row.seen = fmt.Sprintf("%d times; %s; %s", f.rounds, words(failures), back)
	r.report(t, row)
	if back.checks > 2 {
		t.Errorf("an endpoint was back after %d checks; the first one after the fault, or the next one where that was under way, must bring it back", back.checks)
	}
	// The access log says of each failure why.
	var logs map[string]int
	if !within(func() bool { logs = logged(); return maps.Equal(logs, failures) }) {
		t.Errorf("the access log has %v, clients have seen %v", logs, failures)
	}
}

// unexpected are the losses that are not of the kinds that may be.
func (f fault) unexpected(losses, may []string) []string {
	return slices.DeleteFunc(slices.Clone(losses), func(loss string) bool {
		for _, reason := range may {
			status, why, _ := strings.Cut(reason, " ")
			if strings.Contains(loss, ": "+status+": ") && strings.Contains(loss, why) {
				return true
			}
		}
		return f.cut && strings.Contains(loss, "cut short")
	})
}

// within asks for a condition as harness.Eventually does, and lets the caller say what is wrong.
func within(condition func() bool) bool {
	for deadline := time.Now().Add(harness.Patience / 4); !condition(); harness.Breathe() {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// words are counts as a text.
func words(counts map[string]int) string {
	if len(counts) == 0 {
		return "no failure"
	}
	var all []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%d × %s", counts[what], what))
	}
	return strings.Join(all, ", ")
}

// reasons counts the lines of an access log that have a reason, by status and reason.
func reasons(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var line struct {
			Status int
			Reason string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Reason != "" {
			counts[fmt.Sprint(line.Status, " ", line.Reason)]++
		}
	}
	return counts
}

// A recovery is how an endpoint came back: how many checks were made from the end of the fault on, and how long that took.
type recovery struct {
	checks int
	took   time.Duration
}

// add keeps the slower one.
func (r *recovery) add(other recovery) {
	r.checks, r.took = max(r.checks, other.checks), max(r.took, other.took)
}

func (r recovery) String() string {
	return fmt.Sprintf("requests reach it again after at most %d checks, %d ms (checks are %d s apart)", r.checks, r.took.Milliseconds(), interval)
}

func endpoint(t *testing.T, p *harness.Proxy, service, addr string) harness.Endpoint {
	t.Helper()
	for _, e := range p.Endpoints(t, service) {
		if e.Address == addr {
			return e
		}
	}
	t.Fatalf("%s has no endpoint %s", service, addr)
	return harness.Endpoint{}
}

// recovers waits until an endpoint has been checked since the end of a fault, is healthy, and gets requests.
func recovers(t *testing.T, p *harness.Proxy, service, addr string, ended time.Time) recovery {
	t.Helper()
	checks := map[time.Time]bool{}
	var now harness.Endpoint
	harness.Eventually(t, addr+" is healthy", func() bool {
		now = endpoint(t, p, service, addr)
		if now.LastCheck == nil || now.LastCheck.Before(ended) {
			return false
		}
		checks[*now.LastCheck] = true
		return now.Healthy && now.Serving
	})
	harness.Eventually(t, addr+" gets requests", func() bool { return endpoint(t, p, service, addr).Requests > now.Requests })
	return recovery{checks: len(checks), took: time.Since(ended)}
}

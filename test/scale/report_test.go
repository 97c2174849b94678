package scale

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	report = "../../docs/benchmarks.md"
	begin  = "<!-- scale:begin -->"
	end    = "<!-- scale:end -->"
)

// A result is what was measured.
type result struct {
	size
	how   string
	began time.Time
	load  string // of the machine, before

	ready, programmed, startCPU time.Duration
	startPeak                   float64
	startWrites                 []write

	endpoints, endpointsAfter []time.Duration
	changes, changesAfter     []time.Duration
	perChange                 perChange

	resident, peak float64 // MiB
	cpu, took      time.Duration
}

// markdown is the result as a section of the report.
func (r *result) markdown(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("\nWritten by `make scale`: %d ProxyServices, each with a Service of its own, and %d pods.\n", r.services, r.pods)
	line("| what | measured | goal | |")
	line("|---|---:|---:|---|")
	line("| cold start until every object is Programmed | %.1f s | ≤ 15 s | %s |", r.programmed.Seconds(), met(r.programmed.Seconds() <= 15))
	line("| cold start until it is ready, and serves everything | %.1f s | | |", r.ready.Seconds())
	p99 := quantile(r.endpoints, 0.99)
	line("| from a change of an EndpointSlice to the first request on the new endpoint, p99 | %s | ≤ 100 ms | %s |", ms(p99), met(p99 <= 100*time.Millisecond))
	line("| the same: p50, worst | %s, %s | | |", ms(quantile(r.endpoints, 0.5)), ms(quantile(r.endpoints, 1)))
	line("| the same, after the API server had answered that it took the change: p50, p99 | %s, %s | | |", ms(quantile(r.endpointsAfter, 0.5)), ms(quantile(r.endpointsAfter, 0.99)))
	p99 = quantile(r.changes, 0.99)
	line("| from a change of a ProxyService to the first answer that follows it, p99 | %s | ≤ 300 ms | %s |", ms(p99), met(p99 <= 300*time.Millisecond))
	line("| the same: p50, worst | %s, %s | | |", ms(quantile(r.changes, 0.5)), ms(quantile(r.changes, 1)))
	line("| the same, after the API server had answered that it took the change: p50, p99 | %s, %s | | |", ms(quantile(r.changesAfter, 0.5)), ms(quantile(r.changesAfter, 0.99)))
	line("| resident memory of the process after all of this (VmRSS) | %.0f MiB | ≤ 150 MiB | %s |", r.resident, met(r.resident <= 150))
	line("| the most it ever was (VmHWM): in the cold start, in all | %.0f MiB, %.0f MiB | | |", r.startPeak, r.peak)
	p := r.perChange
	line("| API writes a change of a ProxyService: its own status | %.2f | 1 | %s |", p.changed, met(math.Abs(p.changed-1) < 0.005))
	line("| the same: statuses of other objects | %.2f | 0 | %s |", p.others, met(p.others == 0))
	for _, what := range slices.Sorted(maps.Keys(p.rest)) {
		goal, verdict := " 0", met(false)
		if what == "leases" { // a replica says on its own what it serves
			goal, verdict = "", ""
		}
		line("| the same: %s | %.2f |%s | %s |", what, p.rest[what], goal, verdict)
	}
	counts := map[string]int{}
	for _, w := range r.startWrites {
		counts[w.what()]++
	}
	var starts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		starts = append(starts, fmt.Sprintf("%d %s", counts[what], what))
	}
	line("\n- %s: %s, %d CPUs, shared with the API server, etcd, kube-controller-manager and the clients; %s; load average %s before, %s after",
		r.began.UTC().Format(time.DateOnly), cpuName(t), runtime.NumCPU(), runtime.Version(), r.load, load(t))
	line("- the program as `make build` makes it, in a process of its own, with its defaults; real kube-apiserver, etcd and kube-controller-manager; %s; "+
		"health checks are off, because the pods' addresses lead nowhere", r.how)
	line("- each ProxyService has a host, three routes and backends in two of them; one in twenty has a port of its own, the others share one")
	line("- %d changes of endpoints and %d of ProxyServices, one at a time, measured from the moment when the request to the API server is sent; "+
		"%d more, whose writes were counted in the API server's audit log", len(r.endpoints), len(r.changes), r.writes)
	line("- the cold start took %.1f s of CPU time and wrote %s; the whole %.0f s took %.1f s of CPU time",
		r.startCPU.Seconds(), strings.Join(starts, ", "), r.took.Seconds(), r.cpu.Seconds())
	return b.String()
}

// save replaces the section of the report.
func (r *result) save(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no part between %s and %s: add these lines where the figures belong", filepath.Clean(report), begin, end)
	}
	if err := os.WriteFile(report, []byte(before+begin+"\n"+r.markdown(t)+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "**MISSED**"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

// quantile is the smallest value that is not exceeded by that part of all.
func quantile(all []time.Duration, part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// load is the machine's load average over a minute.
func load(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[0]
}

func cpuName(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

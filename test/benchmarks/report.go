package benchmarks

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/report"
)

// The hand-written part of the report stands between these lines and survives when the report is written again.
const (
	notesBegin = "<!-- notes:begin -->"
	notesEnd   = "<!-- notes:end -->"
)

// Report is what is written about a benchmark.
type Report struct {
	Results []Result

	contenders []string
	versions   map[string]string
	machine    report.Machine
	opt        Options
	when       time.Time
}

// Report returns the report of results.
func (b *Bench) Report(results []Result) (Report, error) {
	m, err := report.ThisMachine()
	if err != nil {
		return Report{}, err
	}
	return Report{
		Results: results, contenders: b.opt.Contenders, versions: b.versions, machine: m, opt: b.opt, when: time.Now().UTC(),
	}, nil
}

// Markdown returns the report. The notes of old, an earlier report, are taken over; plot is the name of the plot's file
// as seen from the report's, "" for none.
func (r Report) Markdown(old, plot string) (string, error) {
	notes, err := notesOf(old)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n" +
		"Written by `make bench`, except for the notes at the end, which are written by hand and kept.\n\n" +
		"What counts is the CPU time, user and system, that all processes of a proxy use for a request. A ratio is taken within a\n" +
		"round, in which each proxy has its turn on the same machine; the tables show medians over the rounds. A row whose goal is\n" +
		"missed stays marked until it is met.\n\n")
	r.goals(&b)
	if plot != "" {
		fmt.Fprintf(&b, "\n![CPU time per request, relative to the better of nginx and HAProxy](%s)\n", plot)
	}
	r.figures(&b)
	r.features(&b)
	r.conditions(&b)
	fmt.Fprintf(&b, "\n## Notes\n\n%s%s%s\n", notesBegin, notes, notesEnd)
	return b.String(), nil
}

// goals writes the table of the goals.
func (r Report) goals(b *strings.Builder) {
	b.WriteString("## Goals\n\n| work | pingora-proxy | goal | | rounds |\n|---|---|---|---|---|\n")
	for _, res := range r.Results {
		if len(res.Row.Goals) == 0 && res.Err != nil {
			fmt.Fprintf(b, "| %s | – | – | **failed**: %s | %d |\n", res.Row.Title, cell(res.Err.Error()), len(res.Rounds))
		}
		title := res.Row.Title
		for _, g := range res.Row.Goals {
			figure, met := res.Reached(g)
			verdict := "**MISSED**"
			switch {
			case res.Err != nil:
				verdict = "**failed**: " + cell(res.Err.Error())
			case math.IsNaN(figure):
				verdict = "not measured"
			case met:
				verdict = "met"
			}
			got, goal := res.Row.describe(figure, g)
			fmt.Fprintf(b, "| %s | %s | %s | %s | %d |\n", title, got, goal, verdict, len(res.Rounds))
			title = ""
		}
	}
}

// describe says in words what was reached and what is the goal.
func (r Row) describe(figure float64, g Goal) (got, goal string) {
	switch {
	case r.Idle > 0:
		return number(figure, "%.1f KiB each"), fmt.Sprintf("≤ %g KiB of resident memory each", g.Bound)
	case r.Direct:
		return number(figure, "%.2f ×"), fmt.Sprintf("≥ %g × the requests/s of one core", g.Bound)
	case r.Cores:
		return number(figure, "%.2f ×"), fmt.Sprintf("≥ %g × one core, as far as CPU time tells: 2 × the time of a request on one core / on two", g.Bound)
	default:
		return number(figure, "%.2f ×"), fmt.Sprintf("≤ %g × %s", g.Bound, against(g.Against))
	}
}

// against names what a ratio is taken to.
func against(names []string) string {
	titles := make([]string, len(names))
	for i, name := range names {
		titles[i] = name
		if title, ok := map[string]string{HAProxy: "HAProxy", Relay: "the bare TCP relay", Caddy: "Caddy", Traefik: "Traefik"}[name]; ok {
			titles[i] = title
		}
	}
	text := strings.Join(titles, " and ")
	if len(names) > 1 {
		text = "the better of " + text
	}
	return text
}

// figures writes the medians of each contender.
func (r Report) figures(b *strings.Builder) {
	b.WriteString("\n## Figures\n\n| work | proxy | CPU µs/request | × the better | requests/s | p50 | p99 | resident |\n|---|---|---:|---:|---:|---:|---:|---:|\n")
	for _, res := range r.Results {
		names := r.contenders
		if res.Row.Cores {
			names = res.Row.Contenders
		} else if res.Row.Contenders != nil {
			continue
		}
		title := res.Row.Title
		for _, name := range names {
			s, ok := res.Median(name)
			if !ok {
				continue
			}
			if res.Row.Idle > 0 {
				fmt.Fprintf(b, "| %s | %s | | %s | | | | %.1f MiB, %.2f KiB a connection |\n",
					title, name, number(res.Ratio(name), "%.2f"), mib(s.Resident), s.PerConn/1024)
			} else {
				fmt.Fprintf(b, "| %s | %s | %.1f | %s | %.0f | %s | %s | %.1f MiB |\n",
					title, name, s.CPU, number(res.Ratio(name), "%.2f"), s.RPS, ms(s.P50), ms(s.P99), mib(s.Resident))
			}
			title = ""
		}
	}
}

// features writes what each feature costs a request.
func (r Report) features(b *strings.Builder) {
	for _, res := range r.Results {
		names := res.Row.Contenders
		if names == nil || res.Row.Cores || len(res.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n## What features cost\n\n%s: CPU time of a request, and the median over the rounds of the difference to the same round without "+
			"any.\n\n| feature | CPU µs/request | µs more |\n|---|---:|---:|\n", res.Row.Title)
		for _, name := range names {
			s, ok := res.Median(name)
			if !ok {
				continue
			}
			var more []float64
			for _, round := range res.Rounds {
				more = append(more, round[name].CPU-round[names[0]].CPU)
			}
			fmt.Fprintf(b, "| %s | %.1f | %.1f |\n", featureTitle(name), s.CPU, median(more))
		}
	}
}

// conditions writes how it was measured.
func (r Report) conditions(b *strings.Builder) {
	m := r.machine
	fmt.Fprintf(b, "\n## How it was measured\n\n- %s: %s, %d CPUs, %s, %s; programs built with %s\n",
		r.when.Format(time.DateOnly), m.CPU, m.CPUs, m.Memory, m.Kernel, m.Go)
	fmt.Fprintf(b, "- network: the loopback of %s\n", r.opt.Network)
	for _, name := range slices.Sorted(maps.Keys(r.versions)) {
		fmt.Fprintf(b, "- %s: %s\n", name, r.versions[name])
	}
	fmt.Fprintf(b, "- rounds: %d, with %s for each proxy (idle connections: %d, each with a fresh process); another proxy begins in each round\n",
		r.opt.Rounds, r.opt.Duration, min(r.opt.Rounds, idleRounds))
	b.WriteString("- one CPU for the proxies (nginx with one worker, HAProxy with one thread, Go proxies with one processor for goroutines), " +
		"another one for wrk and for the origin, an nginx that answers as cheaply as it can; with large bodies it is that one which limits requests/s\n")
	splice := map[string]string{
		SpliceBest:   "with what is cheapest for it, `option splice-response` for large bodies and `splice-auto` otherwise",
		SpliceAlways: "with `option splice-response`",
		SpliceAuto:   "with `option splice-auto`",
		SpliceOff:    "without splicing, as it does by default; goals refer to that; `haproxy-splice` is the same with `option splice-response` and `option splice-request`",
	}[r.opt.Splice]
	fmt.Fprintf(b, "- nginx does not write bodies to temporary files, and buffers its access log; HAProxy runs %s; all keep connections to "+
		"clients and to the origin open and set `X-Forwarded-For`; ours counts its metrics and checks the origin's health meanwhile. "+
		"The configurations are in `test/benchmarks/configs`\n", splice)
	r.besides(b)
	b.WriteString("- a round counts only when every request was answered well, with its whole body, and, where there is an access log, when the log has its line\n")
	for _, res := range r.Results {
		switch {
		case res.Row.Idle > 0:
		case res.Row.Streams > 0:
			fmt.Fprintf(b, "- %s: `h2load %s`\n", res.Row.Name, strings.Join(h2loadArgs("message", res.Row, r.opt.Duration, "PROXY"), " "))
		default:
			fmt.Fprintf(b, "- %s: `wrk %s`\n", res.Row.Name, strings.Join(wrkArgs(script(res.Row), res.Row, r.opt.Duration, "PROXY"), " "))
		}
		for _, why := range res.Repeated {
			fmt.Fprintf(b, "- %s: a round was repeated: %s\n", res.Row.Name, cell(why))
		}
	}
}

// besides writes how the rows were measured that are not like the others.
func (r Report) besides(b *strings.Builder) {
	for _, res := range r.Results {
		switch row := res.Row; {
		case row.Direct:
			b.WriteString("- two cores: one CPU with `WORKER_THREADS=1` beside two with `WORKER_THREADS=2`, all other CPUs for wrk and the origin; compared are the requests/s\n")
		case row.Cores:
			fmt.Fprintf(b, "- two cores: one CPU with `WORKER_THREADS=1` beside two with `WORKER_THREADS=2`. The machine has %d CPUs, which wrk and the origin share with the "+
				"proxy, so that requests/s would tell what is left to it. Compared is the CPU time of a request instead: what two cores could serve is 2 × that on one / that on "+
				"two. It counts what the cores cost each other (locks, caches, threads that are woken), but not that a core may stand idle\n", r.machine.CPUs)
		case row.Upload:
			b.WriteString("- uploads: the origin answers when it has read the whole body; nginx sends on as it receives (`proxy_request_buffering off`)\n")
		}
	}
	if slices.Contains(r.contenders, Relay) {
		b.WriteString("- `relay` stands for the physical limit: one thread that accepts, connects once for each client connection, and hands bytes on in both directions through a " +
			"buffer of 64 KiB; it reads nothing in them\n")
	}
}

// notesOf returns what stands between the markers of a report.
func notesOf(report string) (string, error) {
	if strings.TrimSpace(report) == "" {
		return "\n", nil
	}
	_, rest, begun := strings.Cut(report, notesBegin)
	notes, _, ended := strings.Cut(rest, notesEnd)
	if !begun || !ended {
		return "", fmt.Errorf("the report has no hand-written part between %s and %s; add these lines so that nothing is lost", notesBegin, notesEnd)
	}
	return notes, nil
}

// cell makes text fit into a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

func number(v float64, format string) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

func ms(d time.Duration) string {
	if d == 0 { // h2load tells none
		return "–"
	}
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

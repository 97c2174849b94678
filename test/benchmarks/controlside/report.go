package controlside

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

const (
	begin = "<!-- controlside:begin -->"
	end   = "<!-- controlside:end -->"
)

// Markdown is the results as a section of the report. The last one is the largest, which the goals are for.
func Markdown(results []*Result, before string) string {
	var b strings.Builder
	b.WriteString("\nWritten by `make scale-files`: services of ten endpoints and two routes each, of which every one has a host of its own at one address.\n\n")
	b.WriteString("| what |")
	for _, r := range results {
		checks := "no checks"
		if r.Checks {
			checks = "TCP checks"
		}
		fmt.Fprintf(&b, " %d, %s |", r.Services, checks)
	}
	b.WriteString(" goal at 10,000 | |\n|---|" + strings.Repeat("---:|", len(results)) + "---:|---|\n")
	row := func(what string, value func(*Result) string, goal string, met func(*Result) bool) {
		b.WriteString("| " + what + " |")
		verdict := ""
		for _, r := range results {
			b.WriteString(" " + value(r) + " |")
			if met != nil && r.Services == 10_000 && verdict != "**MISSED**" {
				if verdict = "met"; !met(r) {
					verdict = "**MISSED**"
				}
			}
		}
		fmt.Fprintf(&b, " %s | %s |\n", goal, verdict)
	}
	row("a folder, a file a service: from the start of the program until everything serves", func(r *Result) string { return ms(r.Start) }, "≤ 2 s",
		func(r *Result) bool { return r.Start <= 2*time.Second })
	row("all files written anew, from the last one until they serve", func(r *Result) string { return ms(r.All) }, "", nil)
	row("one file replaced, until the change serves: median", func(r *Result) string { return ms(r.Service) }, "≤ 100 ms",
		func(r *Result) bool { return r.Service <= 100*time.Millisecond })
	row("the same: worst", func(r *Result) string { return ms(r.ServiceWorst) }, "", nil)
	row("resident memory of the process after all of this", func(r *Result) string { return fmt.Sprintf("%.0f MiB", r.Resident) }, "≤ 400 MiB",
		func(r *Result) bool { return r.Resident <= 400 })
	row("the most it ever was", func(r *Result) string { return fmt.Sprintf("%.0f MiB", r.Peak) }, "", nil)
	row("CPU of the process while nothing is asked and nothing changes, in cores", func(r *Result) string { return fmt.Sprintf("%.2f", r.IdleCPU) }, "", nil)
	row("requests, p99: quiet", func(r *Result) string { return ms(r.QuietP99) }, "", nil)
	row("requests, p99: while one service after the other changes", func(r *Result) string { return ms(r.ServiceP99) }, "≤ 2 × quiet",
		func(r *Result) bool { return r.ServiceP99 <= 2*r.QuietP99 })
	row("requests, p99: while all change", func(r *Result) string { return ms(r.AllP99) }, "", nil)
	row("objects: `Translate` and `Apply` of all", func(r *Result) string { return ms(r.Whole) }, "≤ 2 s",
		func(r *Result) bool { return r.Whole <= 2*time.Second })
	row("the same of one changed service: median", func(r *Result) string { return ms(r.OneService) }, "≤ 100 ms",
		func(r *Result) bool { return r.OneService <= 100*time.Millisecond })
	row("allocated for all, and for one", func(r *Result) string {
		return fmt.Sprintf("%.1f MiB, %.1f MiB", float64(r.WholeBytes)/(1<<20), float64(r.ServiceBytes)/(1<<20))
	}, "", nil)
	row("one changed endpoint (`SetEndpoints`): median", func(r *Result) string { return fmt.Sprintf("%.3f ms", r.OneEndpoint.Seconds()*1000) }, "≤ 1 ms",
		func(r *Result) bool { return r.OneEndpoint <= time.Millisecond })
	fmt.Fprintf(&b, "\n- %s: %d CPUs, shared with the requests' clients, their origin and whatever else ran; %s; load average %s before, %s after\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), before, LoadAverage())
	if len(results) > 0 {
		r := results[0]
		fmt.Fprintf(&b, "- %d changes of one service, each put into its place by renaming; %d requests a second in the open, on up to 16 connections; "+
			"a changed file waits 10 ms for others\n", r.Changes, r.Rate)
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

// LoadAverage is that of the machine over a minute.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

// Save puts the section into the report, between its marks.
func Save(report, section string) error {
	text, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no part between %s and %s", report, begin, end)
	}
	return os.WriteFile(report, []byte(before+begin+"\n"+section+end+after), 0o644)
}

package benchmarks

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/report"
)

func testReport() Report {
	rows, err := SelectRows("tiny64,log,idle,h2,features,cores")
	if err != nil {
		panic(err) // a row was renamed
	}
	tiny, logged, idle, multiplexed, features, cores := rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
	features.Contenders = features.Contenders[:2]
	return Report{
		Results: []Result{
			{Row: tiny, Rounds: []Round{
				{
					Ours:    {CPU: 15, RPS: 50000, P50: time.Millisecond, P99: 2 * time.Millisecond, Resident: 30 << 20},
					Nginx:   {CPU: 20, RPS: 40000, P50: time.Millisecond, P99: 2 * time.Millisecond, Resident: 40 << 20},
					HAProxy: {CPU: 500, RPS: 1, Resident: 20 << 20},
					Relay:   {CPU: 10},
				},
			}, Repeated: []string{"nginx: 3 socket | errors"}},
			{Row: logged, Err: errors.New("haproxy: no | port\nleft")},
			{Row: multiplexed, Rounds: []Round{{Ours: {CPU: 30}, Nginx: {CPU: 40}, HAProxy: {CPU: 20}}}},
			{Row: features, Rounds: []Round{
				{Ours: {CPU: 10}, Ours + " routes": {CPU: 10.5}}, {Ours: {CPU: 20}, Ours + " routes": {CPU: 20.3}}, {Ours: {CPU: 11}, Ours + " routes": {CPU: 11.9}},
			}},
			{Row: cores, Rounds: []Round{{Ours: {CPU: 10}, OursTwo: {CPU: 12.5}}}},
			{Row: idle, Rounds: []Round{{Ours: {PerConn: 20 << 10, Resident: 200 << 20}, Nginx: {PerConn: 1 << 10}}}},
		},
		contenders: []string{Nginx, Ours, HAProxy, Relay},
		versions:   map[string]string{Nginx: "nginx/1.22.1"},
		machine:    report.Machine{CPU: "Some CPU", CPUs: 2, Memory: "24 GiB", Kernel: "Linux 6.1 x86_64", Go: "go1.26"},
		opt:        Options{Rounds: 7, Duration: 5 * time.Second, Splice: SpliceBest, Network: "somewhere, cubic"},
		when:       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func TestMarkdown(t *testing.T) {
	text, err := testReport().Markdown("", "benchmarks.svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| tiny response, 64 keep-alive clients | 0.75 × | ≤ 0.95 × the better of nginx and HAProxy | met | 1 |\n|  | 1.50 × | ≤ 1.2 × the bare TCP relay | **MISSED** | 1 |\n" +
			"|  | – | ≤ 0.4 × Traefik | not measured | 1 |\n|  | – | ≤ 0.4 × Caddy | not measured | 1 |\n",
		"| tiny, JSON access log to a file, 64 clients | – | ≤ 1 × the better of nginx and HAProxy | **failed**: haproxy: no \\| port left | 0 |\n",
		"| 10,000 idle keep-alive clients | 20.0 KiB each | ≤ 8 KiB of resident memory each | **MISSED** | 1 |\n",
		"| tiny over HTTP/2, 16 clients with 16 streams | 0.75 × | ≤ 1 × nginx | met | 1 |\n", // not the better one
		"| tiny over HTTP/2, 16 clients with 16 streams | nginx | 40.0 | 1.00 | 0 | – | – |",
		"| none | 11.0 | 0.0 |\n| 1,000 routes | 11.9 | 0.5 |\n",
		"| tiny, 64 keep-alive clients, two cores | 1.60 × | ≥ 1.8 × one core, as far as CPU time tells: 2 × the time of a request on one core / on two | **MISSED** | 1 |\n",
		"| tiny, 64 keep-alive clients, two cores | pingora-proxy | 10.0 | 1.00 |", "|  | pingora-proxy-2-cores | 12.5 | 1.25 |",
		"The machine has 2 CPUs, which wrk and the origin share", "- `relay` stands for the physical limit",
		"](benchmarks.svg)\n",
		"| tiny response, 64 keep-alive clients | nginx | 20.0 | 1.00 | 40000 | 1.00 ms | 2.00 ms | 40.0 MiB |\n|  | pingora-proxy | 15.0 | 0.75 |",
		"- 2026-01-02: Some CPU, 2 CPUs, 24 GiB, Linux 6.1 x86_64; programs built with go1.26\n- network: the loopback of somewhere, cubic\n- nginx: nginx/1.22.1\n- rounds: 7, with 5s",
		"- tiny64: `wrk -t1 -c64 -d5s",
		"- tiny64: a round was repeated: nginx: 3 socket \\| errors\n",
		"\n" + notesBegin + "\n" + notesEnd + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestMarkdownKeepsTheNotes(t *testing.T) {
	report := testReport()
	first, err := report.Markdown("", "")
	if err != nil {
		t.Fatal(err)
	}
	const notes = "\n### Where the time goes\n\nIn `writev`, mostly.\n"
	edited := strings.Replace(first, notesBegin+"\n", notesBegin+notes, 1)
	report.Results[0].Rounds[0][Ours] = Sample{CPU: 40}
	second, err := report.Markdown(edited, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(second, notesBegin+notes+notesEnd+"\n") {
		t.Errorf("the notes are lost or changed:\n%s", second)
	}
	if !strings.Contains(second, "64 keep-alive clients | 2.00 ×") || strings.Contains(second, "response, 64 keep-alive clients | 0.75 ×") {
		t.Errorf("the figures are not the new ones:\n%s", second)
	}
	third, err := report.Markdown(second, "")
	if err != nil || third != second {
		t.Errorf("writing it again changes the report: %v\n%s", err, third)
	}
	for _, lost := range []string{"# Benchmarks\n\nby hand\n", notesBegin + " no end", "no begin " + notesEnd} {
		if _, err := report.Markdown(lost, ""); err == nil {
			t.Errorf("a report without both markers is overwritten: %q", lost)
		}
	}
}

func TestPlotIsWellFormedAndShowsTheRatios(t *testing.T) {
	plot := testReport().Plot()
	dec := xml.NewDecoder(strings.NewReader(plot))
	bars := 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, plot)
		}
		start, ok := tok.(xml.StartElement)
		if !ok || start.Name.Local != "rect" {
			continue
		}
		bars++
		for _, a := range start.Attr {
			if a.Name.Local == "width" && len(a.Value) > len("520.0") {
				t.Errorf("a bar leaves the plot: %s wide", a.Value)
			}
		}
	}
	if want := 4 + 4 + 3; bars != want { // a legend for each contender, and a bar for each in the two rows with ratios; the relay has no HTTP/2
		t.Errorf("%d bars, want %d", bars, want)
	}
	for _, want := range []string{">0.75</text>", ">1.00</text>", ">25.00</text>", "prefers-color-scheme:dark"} {
		if !strings.Contains(plot, want) {
			t.Errorf("%q is not in\n%s", want, plot)
		}
	}
	if strings.Contains(plot, "idle") {
		t.Error("a row of memory is in the plot of time")
	}
}

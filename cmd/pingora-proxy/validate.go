package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// report is what --validate --output json prints.
type report struct {
	standalone.Report
	Services []serviceReport      `json:"services,omitempty"`
	Settings []standalone.Setting `json:"settings,omitempty"`
}

type serviceReport struct {
	Name        string `json:"name"`
	BindAddress string `json:"bind_address"`
	Routes      int    `json:"routes"`
	Upstreams   int    `json:"upstreams"`
}

// validate checks a configuration: problems go to stderr, a line each; of a good one, each service gets a line.
func validate(source standalone.Options, output string, verbose bool, stdout, stderr io.Writer) error {
	source.CheckOnly = true
	loaded, problems := standalone.Load(source)
	// What would keep the proxy from starting is no good configuration, although it is not part of the file.
	if _, variable, err := environmentLevel(); err != nil {
		problems = append(problems, standalone.Problem{File: "environment", Path: variable, Message: err.Error()})
	}
	r := report{Report: standalone.NewReport(problems)}
	if len(problems) == 0 {
		for _, s := range loaded.Services {
			upstreams := len(s.Spec.Upstreams) + len(s.Spec.Backends)
			for _, route := range s.Spec.Routes {
				upstreams += len(route.Backends)
			}
			r.Services = append(r.Services, serviceReport{s.Name, s.Spec.BindAddress, max(len(s.Spec.Routes), 1), upstreams})
		}
		if verbose {
			r.Settings = loaded.Settings
		}
	}
	if output == "json" {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(r); err != nil {
			return fail(err)
		}
		if len(problems) > 0 {
			return fail(nil)
		}
		return nil
	}
	if len(problems) > 0 {
		printProblems(stderr, problems)
		return fail(nil)
	}
	for _, s := range r.Services {
		fmt.Fprintf(stdout, "%s: %s, %s, %s\n", s.Name, s.BindAddress, count(s.Routes, "route"), count(s.Upstreams, "upstream"))
	}
	for _, s := range r.Settings {
		from := string(s.From)
		if s.Where != "" {
			from += " (" + s.Where + ")"
		}
		fmt.Fprintf(stdout, "%s = %s\t%s\n", s.Key, s.Value, from)
	}
	fmt.Fprintf(stdout, "valid: %s\n", count(len(r.Services), "service"))
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printProblems prints problems a line each, and how many there are.
func printProblems(w io.Writer, problems []standalone.Problem) {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	b.WriteString(standalone.Summary(problems))
	fmt.Fprintln(w, strings.TrimRight(b.String(), "\n"))
}

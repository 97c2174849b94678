// Command bench measures pingora-proxy beside nginx, HAProxy, a bare TCP relay and, when asked, Caddy and Traefik. Without flags it measures everything
// and writes docs/benchmarks.md with its plot; see the package benchmarks for what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// flags are the command line.
type flags struct {
	opt       benchmarks.Options
	out, plot string
	network   string
	smoke     bool
}

func parse(args []string) (flags, error) {
	var f flags
	var rows, peers string
	var goPeers bool
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.IntVar(&f.opt.Rounds, "rounds", 7, "rounds; the median over them is reported")
	set.DurationVar(&f.opt.Duration, "duration", 5*time.Second, "time of one measurement, whole seconds")
	set.StringVar(&rows, "rows", "", "rows to measure, a comma-separated list; unset: all")
	set.StringVar(&peers, "peers", strings.Join([]string{benchmarks.Ours, benchmarks.Nginx, benchmarks.HAProxy, benchmarks.HAProxySplice, benchmarks.Relay}, ","), "proxies to measure, a comma-separated list")
	set.BoolVar(&goPeers, "go-peers", false, "measure Caddy and Traefik too, built from their Go modules, in the rows that have goals for them")
	set.StringVar(&f.opt.Splice, "haproxy-splice", benchmarks.SpliceOff, "when HAProxy moves bodies with splice(2): always, auto, off or, of these, what is best for a row")
	set.StringVar(&f.opt.Binary, "bin", "", "our program; unset: built from ./cmd/pingora-proxy")
	set.StringVar(&f.out, "out", "docs/benchmarks.md", "report to write; with -rows or -peers only when given, else the report is printed")
	set.StringVar(&f.plot, "plot", "docs/benchmarks.svg", "plot to write with the report")
	set.StringVar(&f.opt.Profile, "profile", "", "directory for a CPU profile of ours for each row")
	set.StringVar(&f.network, "network", "", "where to measure: own, a network namespace made for it (needs root), or host; unset: own for root")
	set.BoolVar(&f.smoke, "smoke", false, "only check that everything works: one round of a second for two rows, no file is written")
	if err := set.Parse(args); err != nil {
		return flags{}, err
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if f.smoke {
		f.opt.Rounds, f.opt.Duration = 1, time.Second
		if rows == "" {
			rows = "tiny64,100k"
		}
	}
	if f.smoke || (given["rows"] || given["peers"]) && !given["out"] {
		f.out = ""
	}
	var err error
	if f.opt.Rows, err = benchmarks.SelectRows(rows); err != nil {
		return flags{}, err
	}
	known := []string{
		benchmarks.Ours, benchmarks.Nginx, benchmarks.HAProxy, benchmarks.HAProxySplice, benchmarks.Relay, benchmarks.Caddy, benchmarks.Traefik,
	}
	f.opt.Contenders = strings.Split(peers, ",")
	for _, name := range []string{benchmarks.Caddy, benchmarks.Traefik} {
		if goPeers && !slices.Contains(f.opt.Contenders, name) {
			f.opt.Contenders = append(f.opt.Contenders, name)
		}
	}
	for i, name := range f.opt.Contenders {
		if !slices.Contains(known, name) {
			return flags{}, fmt.Errorf("-peers: no proxy %q; there are %s", name, strings.Join(known, ", "))
		}
		if slices.Contains(f.opt.Contenders[:i], name) {
			return flags{}, fmt.Errorf("-peers: %s stands there twice", name)
		}
	}
	switch {
	case set.NArg() > 0:
		return flags{}, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case !slices.Contains([]string{benchmarks.SpliceBest, benchmarks.SpliceAlways, benchmarks.SpliceAuto, benchmarks.SpliceOff}, f.opt.Splice):
		return flags{}, fmt.Errorf("-haproxy-splice %s: must be best, always, auto or off", f.opt.Splice)
	case !slices.Contains([]string{"", networkOwn, networkHost, networkInside}, f.network):
		return flags{}, fmt.Errorf("-network %s: must be own or host", f.network)
	case f.opt.Rounds < 1:
		return flags{}, fmt.Errorf("-rounds %d: must be at least 1", f.opt.Rounds)
	case f.opt.Duration < time.Second || f.opt.Duration%time.Second != 0:
		return flags{}, fmt.Errorf("-duration %s: must be whole seconds, at least one", f.opt.Duration)
	}
	if f.network == "" {
		f.network = networkHost
		if os.Geteuid() == 0 {
			f.network = networkOwn
		}
	}
	f.opt.Progress = os.Stderr
	return f, nil
}

func run(ctx context.Context, args []string) (err error) {
	f, err := parse(args)
	if err != nil {
		return err
	}
	switch f.network {
	case networkOwn:
		return inside(ctx, f, args)
	case networkInside:
		if err := furnish(); err != nil {
			return err
		}
	}
	f.opt.Network = network(f)
	bench, err := benchmarks.New(ctx, f.opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close()) }()
	results, measureErr := bench.Run(ctx)
	if ctx.Err() != nil {
		// Half a report must not replace a whole one.
		return measureErr
	}
	report, err := bench.Report(results)
	if err != nil {
		return errors.Join(measureErr, err)
	}
	return errors.Join(measureErr, write(report, f.out, f.plot))
}

// write writes the report and its plot, or prints the report when out is "".
func write(report benchmarks.Report, out, plot string) error {
	if out == "" {
		text, err := report.Markdown("", "")
		if err != nil {
			return err
		}
		fmt.Println(text)
		return nil
	}
	old, err := os.ReadFile(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	link := ""
	if plot != "" {
		if link, err = filepath.Rel(filepath.Dir(out), plot); err != nil {
			return err
		}
		if err := os.WriteFile(plot, []byte(report.Plot()), 0o644); err != nil {
			return err
		}
	}
	text, err := report.Markdown(string(old), filepath.ToSlash(link))
	if err != nil {
		return err
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

// Command cmd measures the control side at several sizes and writes its part of docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/controlside"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlside:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	sizes := flag.String("services", "1000,10000,10000+checks", "sizes to measure, a comma-separated list; +checks: with active health checks")
	o := controlside.Options{Log: os.Stderr}
	flag.StringVar(&o.Binary, "bin", "bin/pingora-proxy", "our program")
	flag.IntVar(&o.Changes, "changes", 30, "changes of one service")
	flag.IntVar(&o.Rate, "rate", 500, "requests a second")
	flag.DurationVar(&o.Quiet, "quiet", 8*time.Second, "for how long requests are measured while nothing changes")
	out := flag.String("out", "docs/benchmarks.md", "report to write; empty: it is printed")
	flag.Parse()
	before := controlside.LoadAverage()
	var results []*controlside.Result
	for size := range strings.SplitSeq(*sizes, ",") {
		number, checks := strings.CutSuffix(size, "+checks")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		o.Services, o.Checks = n, checks
		r, err := controlside.Run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s services: %w", size, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %+v\n", size, *r)
		results = append(results, r)
	}
	section := controlside.Markdown(results, before)
	if *out == "" {
		fmt.Print(section)
		return nil
	}
	return controlside.Save(*out, section)
}

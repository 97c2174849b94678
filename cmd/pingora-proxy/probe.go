package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// probeInterval is the time between two questions to an address that has not answered well yet.
const probeInterval = 500 * time.Millisecond

// newProbe is the command that asks for an address: the image has no shell and no other program that could.
func newProbe(stdout io.Writer) *cobra.Command {
	timeout := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Ask for a URL until the answer is 2xx",
		Long: `probe asks for a URL, again and again until it is answered with a status from 200 to 299 (exit code 0) or the time is up
(exit code 1). It is for checks inside a container that holds nothing but this program.`,
		Example: `  # is the proxy ready?
  pingora-proxy probe http://127.0.0.1:9102/readyz

  # wait up to a minute for an endpoint
  pingora-proxy probe --timeout 1m http://127.0.0.1:3002/healthz`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Args:              cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := url.Parse(args[0])
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return fmt.Errorf("%q: must be a URL such as http://127.0.0.1:9102/readyz", args[0])
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return probe(ctx, u.String(), stdout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to ask")
	completeFlags(cmd, nil, map[string][]string{"timeout": {"5s", "10s", "1m"}})
	return cmd
}

// probe asks until the answer is good or ctx ends.
func probe(ctx context.Context, address string, stdout io.Writer) error {
	// A redirect is an answer of its own, and every question goes over a connection of its own, as a new client's would.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	last := "no answer"
	for {
		status, err := ask(ctx, client, address)
		switch {
		case err == nil && status/100 == 2:
			fmt.Fprintf(stdout, "%s: %d\n", address, status)
			return nil
		case err == nil:
			last = fmt.Sprintf("the last answer was %d", status)
		case ctx.Err() == nil: // else it says no more than that the time is up
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return fail(fmt.Errorf("probe %s: no good answer in time: %s", address, last))
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, client *http.Client, address string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

package controlside

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A client asks the proxy at one address.
type client struct {
	http    *http.Client
	address string
}

func newClient(address string) *client {
	return &client{address: address, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// get returns the status for a host; 0: there was no answer.
func (c *client) get(ctx context.Context, host string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/", nil)
	if err != nil {
		return 0
	}
	r.Host = host
	answer, err := c.http.Do(r)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

var errNever = errors.New("the host was not served within a minute")

// until asks until the host is served.
func (c *client) until(ctx context.Context, host string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for c.get(ctx, host) != http.StatusOK {
		select {
		case <-ctx.Done():
			return errNever
		case <-ended:
			return errors.New("the program has ended")
		case <-time.After(500 * time.Microsecond):
		}
	}
	return nil
}

// latencies sends so many requests a second, on a few connections, while do runs, and returns how long each took from the
// moment at which it was to be sent.
func (c *client) latencies(ctx context.Context, f Fleet, rate int, do func() error) ([]time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	var mu sync.Mutex
	var all []time.Duration
	failures := map[int]int{} // by status
	turns := make(chan time.Time, 4*rate)
	var running sync.WaitGroup
	for n := range 16 {
		running.Go(func() {
			for i := n; ; i += 16 {
				at, more := <-turns
				if !more {
					return
				}
				status := c.get(context.WithoutCancel(ctx), f.Host(i%f.Services))
				mu.Lock()
				if all = append(all, time.Since(at)); status != http.StatusOK {
					failures[status]++
				}
				mu.Unlock()
			}
		})
	}
	running.Go(func() {
		defer close(turns)
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-ticker.C:
				select {
				case turns <- at:
				default: // seconds behind: nothing is added by more of it
				}
			}
		}
	})
	err := do()
	stop()
	running.Wait()
	if err == nil && len(failures) > 0 {
		err = fmt.Errorf("of %d requests failed, by status, 0 for those without an answer: %v", len(all), failures)
	}
	return all, err
}

// quantile is the smallest value that is not exceeded by that part of all.
func quantile(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

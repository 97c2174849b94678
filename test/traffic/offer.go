package traffic

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// An Offer is what became of requests that were sent at a rate, whatever became of those before: as users send them.
type Offer struct {
	Served int             // 200
	Away   []time.Duration // how long each took that was turned away (503 with Retry-After), in order
	Other  int             // neither
	Rate   int             // that was offered, a second
	Took   time.Duration

	mu sync.Mutex
}

// MakeOffer sends so many GETs a second, for a time, and returns when the last one was answered.
func MakeOffer(client *http.Client, url string, rate int, length time.Duration) *Offer {
	o := &Offer{Rate: rate}
	var running sync.WaitGroup
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; time.Since(start) < length; <-tick.C {
		for due := int(time.Since(start).Seconds() * float64(rate)); sent < due; sent++ {
			running.Go(func() { o.ask(client, url) })
		}
	}
	running.Wait()
	o.Took = time.Since(start)
	slices.Sort(o.Away)
	return o
}

func (o *Offer) ask(client *http.Client, url string) {
	start := time.Now()
	r, err := client.Get(url) //nolint:noctx // the client has a time-out
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	took := time.Since(start)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil && r.StatusCode == http.StatusOK:
		o.Served++
	case err == nil && r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		o.Away = append(o.Away, took)
	default:
		o.Other++
	}
}

// Goodput is how many were served a second.
func (o *Offer) Goodput() float64 { return float64(o.Served) / o.Took.Seconds() }

// AwayWithin is how long that part of those took that were turned away.
func (o *Offer) AwayWithin(part float64) time.Duration {
	if len(o.Away) == 0 {
		return 0
	}
	return o.Away[int(part*float64(len(o.Away)-1))].Round(10 * time.Microsecond)
}

// String is the outcome in one line.
func (o *Offer) String() string {
	return fmt.Sprintf("%5d/s offered, %4.0f/s served, %6d turned away within %v (half), %v (99 %%), %v (all), %d otherwise",
		o.Rate, o.Goodput(), len(o.Away), o.AwayWithin(0.5), o.AwayWithin(0.99), o.AwayWithin(1), o.Other)
}

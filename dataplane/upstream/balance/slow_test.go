package balance

import (
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// shares counts n picks of two endpoints, of which the second began to serve a part of span ago.
func shares(a snapshot.Algorithm, part float64, n int) (second int) {
	const span = 1000 * time.Hour // a test takes no part of it
	var s State
	list := members(&s, 1, 1)
	list[1].Since = exchange.Now() - exchange.Nanos(part*float64(span))
	b := New(a, span, list, &s, nil)
	for range n {
		second += b.Pick(nil, 0)
	}
	return second
}

// An endpoint that begins gets less than its share, and ever more: of two, one whose share is p has p/(1+p) of all.
func TestSlowStart(t *testing.T) {
	const n = 20000
	for _, a := range []snapshot.Algorithm{snapshot.RoundRobin, snapshot.Random} {
		for _, part := range []float64{0.05, 0.25, 0.5, 0.9} {
			if got := shares(a, part, n); !near(got, n, part/(1+part)) {
				t.Errorf("algorithm %d: after %v of the time: %d of %d", a, part, got, n)
			}
		}
		if got := shares(a, 0, n); got == 0 || got > n/10 {
			t.Errorf("algorithm %d: at the start: %d of %d", a, got, n)
		}
	}
	last := 0
	for _, part := range []float64{0.05, 0.25, 0.5, 0.9} { // two draws each: the idle one that is drawn first wins
		got := shares(snapshot.LeastRequest, part, n)
		if got <= last || got >= n/2 {
			t.Errorf("least request after %v of the time: %d of %d", part, got, n)
		}
		last = got
	}
}

func TestSlowStartEnds(t *testing.T) {
	var s State
	list := members(&s, 1, 1)
	list[1].Since = exchange.Now() - exchange.Nanos(time.Hour)
	if b := New(snapshot.RoundRobin, time.Minute, list, &s, nil); b.slow != nil {
		t.Error("an endpoint that has had its time is still slow")
	}
	if b := New(snapshot.RoundRobin, 0, list, &s, nil); b.slow != nil {
		t.Error("slow start is off, and an endpoint is slow")
	}
	b := New(snapshot.RoundRobin, 2*time.Hour, list, &s, nil)
	b.slow.until = exchange.Now() // as if the rest of the time had passed
	seen := [2]int{}
	for range 100 {
		seen[b.Pick(nil, 0)]++
	}
	if seen != [2]int{50, 50} || !b.slow.over.Load() {
		t.Errorf("after the time: %v", seen)
	}
}

// A slow endpoint that is busier than its part of its share loses against one that is not.
func TestLeastRequestMeasuresSlowOnes(t *testing.T) {
	const span = 1000 * time.Hour
	var s State
	list := members(&s, 1, 1)
	list[1].Since = exchange.Now() - exchange.Nanos(span/4)
	list[0].Load.Add(3)
	list[1].Load.Add(1) // as much as four of the other
	b := New(snapshot.LeastRequest, span, list, &s, nil)
	for range 1000 {
		if b.Pick(nil, 0) != 0 {
			t.Fatal("the slow one got a request")
		}
	}
}

package benchmarks

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{
		{nil, math.NaN()},
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		got := median(tc.values)
		if got != tc.want && !(math.IsNaN(got) && math.IsNaN(tc.want)) {
			t.Errorf("median(%v) = %v, want %v", tc.values, got, tc.want)
		}
	}
	values := []float64{3, 1, 2}
	median(values)
	if diff := cmp.Diff([]float64{3, 1, 2}, values); diff != "" {
		t.Errorf("median changed its argument: %s", diff)
	}
}

func TestRotate(t *testing.T) {
	names := []string{"a", "b", "c"}
	for turn, want := range [][]string{{"a", "b", "c"}, {"b", "c", "a"}, {"c", "a", "b"}, {"a", "b", "c"}} {
		if diff := cmp.Diff(want, rotate(names, turn)); diff != "" {
			t.Errorf("turn %d: %s", turn, diff)
		}
	}
	if got := rotate(nil, 3); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// cpu makes a round of CPU times.
func cpu(ours, nginx, haproxy float64) Round {
	return Round{Ours: {CPU: ours}, Nginx: {CPU: nginx}, HAProxy: {CPU: haproxy}}
}

func TestRatioIsTakenWithinARound(t *testing.T) {
	// The machine gets slower from round to round, and another peer is the better one in each: the ratio of the medians
	// would be 20/20, 1.
	res := Result{Row: Row{Goals: []Goal{atMost(1)}}, Rounds: []Round{cpu(9, 10, 20), cpu(20, 50, 25), cpu(70, 100, 140)}}
	if got := res.Ratio(Ours); got != 0.8 {
		t.Errorf("ratio of ours: %v, want 0.8, the median of 0.9, 0.8 and 0.7", got)
	}
	if got := res.Ratio(HAProxy); got != 1.4 {
		t.Errorf("ratio of haproxy: %v, want 1.4, the median of 2, 1 and 1.4", got)
	}
	if got := res.Ratio(Caddy); !math.IsNaN(got) {
		t.Errorf("ratio of a contender that was not measured: %v", got)
	}
	onlyOne := Result{Rounds: []Round{{Ours: {CPU: 5}, HAProxy: {CPU: 10}, Caddy: {CPU: 1}}}}
	if got := onlyOne.Ratio(Ours); got != 0.5 {
		t.Errorf("with haproxy alone: %v, want 0.5; other proxies are not what the goal refers to", got)
	}
	if got := (Result{Rounds: []Round{{Ours: {CPU: 5}}}}).Ratio(Ours); !math.IsNaN(got) {
		t.Errorf("without a peer: %v", got)
	}
}

func TestMedianOfSamples(t *testing.T) {
	res := Result{Rounds: []Round{
		{Ours: {CPU: 1, RPS: 30, P50: 2 * time.Millisecond, P99: 9 * time.Millisecond, Resident: 100, PerConn: 7}},
		{Ours: {CPU: 3, RPS: 10, P50: 1 * time.Millisecond, P99: 8 * time.Millisecond, Resident: 300, PerConn: 5}},
		{Ours: {CPU: 2, RPS: 20, P50: 3 * time.Millisecond, P99: 7 * time.Millisecond, Resident: 200, PerConn: 6}},
	}}
	want := Sample{CPU: 2, RPS: 20, P50: 2 * time.Millisecond, P99: 8 * time.Millisecond, Resident: 200, PerConn: 6}
	got, ok := res.Median(Ours)
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v: %s", ok, diff)
	}
	if _, ok := res.Median(Nginx); ok {
		t.Error("there is a median of a contender that was not measured")
	}
}

func TestReached(t *testing.T) {
	idle := Row{Idle: 10, Goals: []Goal{{Bound: 12}}}
	half := Row{Goals: []Goal{atMost(0.5)}}
	traefik := Row{Goals: []Goal{atMost(0.5, Traefik)}}
	cores := Row{Cores: true, Goals: []Goal{{Bound: 1.8}}}
	direct := Row{Cores: true, Direct: true, Goals: []Goal{{Bound: 1.8}}}
	two := []Round{{Ours: {CPU: 10, RPS: 100}, OursTwo: {CPU: 10, RPS: 150}}, {Ours: {CPU: 9, RPS: 100}, OursTwo: {CPU: 10, RPS: 190}}, {Ours: {CPU: 5, RPS: 100}, OursTwo: {CPU: 10, RPS: 170}}}
	for _, tc := range []struct {
		name   string
		res    Result
		figure float64
		met    bool
	}{
		{"exactly at the goal", Result{Row: half, Rounds: []Round{cpu(5, 10, 11)}}, 0.5, true},
		{"over the goal", Result{Row: half, Rounds: []Round{cpu(6, 10, 11)}}, 0.6, false},
		{"not measured", Result{Row: half}, math.NaN(), false},
		{"another peer's goal", Result{Row: traefik, Rounds: []Round{{Ours: {CPU: 5}, Nginx: {CPU: 4}, Traefik: {CPU: 20}}}}, 0.25, true},
		{"that peer was not measured", Result{Row: traefik, Rounds: []Round{cpu(5, 10, 11)}}, math.NaN(), false},
		{"two cores by CPU time", Result{Row: cores, Rounds: two}, 1.8, true},
		{"two cores by requests/s", Result{Row: direct, Rounds: two}, 1.7, false},
		{"two cores not measured", Result{Row: cores}, math.NaN(), false},
		{"memory in KiB, not relative", Result{Row: idle, Rounds: []Round{{Ours: {PerConn: 12 << 10}, Nginx: {PerConn: 1 << 10}}}}, 12, true},
		{"too much memory", Result{Row: idle, Rounds: []Round{{Ours: {PerConn: 13 << 10}}}}, 13, false},
		{"memory not measured", Result{Row: idle, Err: errors.New("x")}, math.NaN(), false},
	} {
		figure, met := tc.res.Reached(tc.res.Row.Goals[0])
		same := figure == tc.figure || math.IsNaN(figure) && math.IsNaN(tc.figure)
		if !same || met != tc.met {
			t.Errorf("%s: got %v, %v, want %v, %v", tc.name, figure, met, tc.figure, tc.met)
		}
	}
}

func TestSelectRows(t *testing.T) {
	all, err := SelectRows("")
	if err != nil || len(all) != len(Rows) {
		t.Errorf("all: %d rows, %v", len(all), err)
	}
	some, err := SelectRows("log,tiny64")
	if err != nil || len(some) != 2 || some[0].Name != "log" || some[1].Name != "tiny64" {
		t.Errorf("two: %v, %v", some, err)
	}
	if _, err := SelectRows("tiny64,tiny65"); err == nil || err.Error() != `no row "tiny65"; there are tiny64, tiny400, 100k, 1m, up1m, log, fresh, tls, handshake, h2, grpc, cores, features, idle, idletls` {
		t.Errorf("an unknown one: %v", err)
	}
}

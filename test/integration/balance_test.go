package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// echoes starts origins with these names and returns their addresses, and their names by address.
func echoes(t *testing.T, names ...string) (addresses []string, byAddress map[string]string) {
	t.Helper()
	byAddress = map[string]string{}
	for _, name := range names {
		o := harness.StartOrigin(t, harness.Echo(name))
		addresses = append(addresses, o.Addr)
		byAddress[o.Addr] = name
	}
	return addresses, byAddress
}

// backends is a service's list of backends: an address and the rest of its fields in turn.
func backends(addressAndFields ...string) string {
	var items []string
	for i := 0; i < len(addressAndFields); i += 2 {
		items = append(items, fmt.Sprintf("{address: '%s', %s}", addressAndFields[i], addressAndFields[i+1]))
	}
	return "backends: [" + strings.Join(items, ", ") + "]"
}

// burst sends n requests from many clients at once, all of which must be answered, and returns who answered how many.
func burst(t *testing.T, address string, workers, n int) map[string]int {
	t.Helper()
	tally := traffic.Start(t, traffic.Options{Addr: address, Workers: workers, Requests: n, Pause: -1}).Wait()
	if tally.Lost != 0 || tally.Answered != n {
		t.Fatalf("%v %q", tally, tally.Losses)
	}
	return tally.ByOrigin
}

// one sends a request on a connection that is kept, and returns who answered.
func one(t *testing.T, c *harness.Client) string {
	t.Helper()
	r := c.Do(t, requestOf("GET", "/"))
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", r.StatusCode, r.Text)
	}
	return r.Header.Get("X-Origin")
}

func TestRoundRobinIsExact(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "five", "one", "two")
	p := harness.Start(t, webService(nil, unchecked,
		backends(at[0], "weight: 5", at[1], "weight: 1", at[2], "weight: 2")), harness.Options{})
	address := p.Addr(t, "web")

	c := harness.Dial(t, address)
	var sequence []string
	for range 24 {
		sequence = append(sequence, one(t, c))
	}
	want := map[string]int{"five": 5, "one": 1, "two": 2}
	for from := range len(sequence) - 8 { // any window, wherever it begins
		got := map[string]int{}
		for _, name := range sequence[from : from+8] {
			got[name]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("requests %d to %d (-want +got):\n%s%q", from, from+7, diff, sequence[from:from+8])
		}
	}
	if joined := strings.Join(sequence, " "); strings.Contains(joined, "five five five five") {
		t.Errorf("not smooth: %s", joined)
	}

	// All clients together: 160 windows.
	got := burst(t, address, 64, 160*8)
	if diff := cmp.Diff(map[string]int{"five": 800, "one": 160, "two": 320}, got); diff != "" {
		t.Errorf("64 clients (-want +got):\n%s", diff)
	}
}

func TestEndpointsThatComeAndGoStayEven(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b", "c", "d")
	p := harness.Start(t, webService(at[:3], unchecked), harness.Options{})
	address := p.Addr(t, "web")
	steady := traffic.Start(t, traffic.Options{Addr: address, Workers: 4})
	for _, set := range [][]string{
		{at[0], at[1]},
		{at[0], at[1], at[2], at[3]},
		{at[3]},
		{at[2], at[3], at[0]},
		{at[1], at[2], at[3]},
	} {
		p.Reload(t, webService(set, unchecked))
		names := map[string]bool{}
		before := p.Endpoints(t, "web")
		burst(t, address, 16, 60*len(set))
		after := p.Endpoints(t, "web")
		if len(after) != len(set) {
			t.Fatalf("%d endpoints, want %d", len(after), len(set))
		}
		// The admin API counts all requests, also those of the steady load, endpoint by endpoint and not at one instant: each
		// of its clients may be counted at one and not yet at another.
		least, most := ^uint64(0), uint64(0)
		for i := range after {
			n := after[i].Requests - before[i].Requests
			least, most = min(least, n), max(most, n)
			names[after[i].Address] = true
		}
		for _, address := range set {
			if !names[address] {
				t.Errorf("%s is no endpoint", address)
			}
		}
		if least < 60 || most-least > 1+2*4 {
			t.Errorf("of endpoints %v one got %d requests and another %d", set, least, most)
		}
	}
	if tally := steady.Stop(); tally.Lost != 0 || len(tally.ByOrigin) != 4 {
		t.Errorf("%v %q", tally, tally.Losses)
	}
	// Alone again the turns are exact.
	want := map[string]int{"b": 100, "c": 100, "d": 100}
	if diff := cmp.Diff(want, burst(t, address, 32, 300)); diff != "" {
		t.Errorf("after all changes (-want +got):\n%s", diff)
	}
}

// A reload that changes something else goes on with the round robin where it was.
func TestRoundRobinGoesOnOverReloads(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b", "c", "d", "e")
	configure := func(n int) string {
		return webService(at, unchecked, fmt.Sprintf("timeouts: {idle_secs: %d}", 100+n))
	}
	p := harness.Start(t, configure(0), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	var got []string
	for i := range 6 {
		for range 3 {
			got = append(got, one(t, c))
		}
		p.Reload(t, configure(i+1))
	}
	for i := range got {
		if want := string("abcde"[i%5]); got[i] != want {
			t.Fatalf("request %d went to %s, want %s: %v", i, got[i], want, got)
		}
	}
}

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var once sync.Once
	let := func() { once.Do(func() { close(release) }) }
	slow := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		harness.Echo("slow").ServeHTTP(w, r)
	}))
	t.Cleanup(let)
	quick, _ := echoes(t, "quick")
	p := harness.Start(t, webService([]string{slow.Addr, quick[0]}, unchecked, "load_balancing: {algorithm: LeastRequest}"), harness.Options{})
	address := p.Addr(t, "web")
	var waiting []*harness.Client
	for slow.Requests.Load() == 0 { // requests go to either, until the slow one has one
		c := harness.Dial(t, address)
		c.Send(t, requestOf("GET", "/"))
		sent := len(waiting) + 1
		harness.Eventually(t, "the request is under way", func() bool {
			return slow.Requests.Load() > 0 || int(p.Metric(t, "requests_total", "code", "200")) == sent
		})
		waiting = append(waiting, c)
	}
	c := harness.Dial(t, address)
	for range 50 {
		if name := one(t, c); name != "quick" {
			t.Fatalf("the busy endpoint got a request: %s", name)
		}
	}
	let()
	for _, c := range waiting {
		if r := c.Response(t, "GET"); r.StatusCode != http.StatusOK {
			t.Error(r.StatusCode)
		}
	}
	if n := slow.Requests.Load(); n != 1 {
		t.Errorf("the busy endpoint got %d requests, want 1", n)
	}
}

func TestRandomFollowsWeights(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "three", "one")
	p := harness.Start(t, webService(nil, unchecked, "load_balancing: {algorithm: Random}",
		backends(at[0], "weight: 3", at[1], "weight: 1")), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	const n = 400
	got, changes, last := map[string]int{}, 0, ""
	for range n {
		name := one(t, c)
		got[name]++
		if name != last {
			changes++
		}
		last = name
	}
	// Six standard deviations (of 8.7) around 300.
	if got["three"] < 248 || got["three"] > 352 {
		t.Errorf("%v", got)
	}
	// Turns would change 200 times and a fixed order would be seen in it; chance changes about 150 times (2·3/4·1/4·400).
	if changes == n/2 || changes == n/2+1 {
		t.Errorf("%d changes in %d requests: that is no chance", changes, n)
	}
}

func TestWeightZeroGetsNothing(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "none", "all")
	p := harness.Start(t, webService(nil, unchecked, backends(at[0], "weight: 0", at[1], "weight: 1")), harness.Options{})
	if got := burst(t, p.Addr(t, "web"), 4, 40); got["all"] != 40 {
		t.Errorf("%v", got)
	}
}

func TestBackupServesOnlyWhenNoPrimaryCan(t *testing.T) {
	t.Parallel()
	primaries := []*harness.OriginProcess{harness.StartOriginProcess(t, "p0"), harness.StartOriginProcess(t, "p1")}
	spare, _ := echoes(t, "backup")
	p := harness.Start(t, webService(nil, "health_check: {frequency_secs: 1, unhealthy_threshold: 1}",
		backends(primaries[0].Addr, "weight: 1", primaries[1].Addr, "weight: 1", spare[0], "role: Backup")), harness.Options{})
	address := p.Addr(t, "web")
	healthy := func(want ...string) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%v are healthy", want), func() bool {
			n := 0
			for _, e := range p.Endpoints(t, "web") {
				for _, address := range want {
					if e.Healthy && e.Address == address {
						n++
					}
				}
				if e.Healthy && !strings.Contains(strings.Join(want, " "), e.Address) {
					return false
				}
			}
			return n == len(want)
		})
	}
	expectShares := func(want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, burst(t, address, 8, 40)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	expectShares(map[string]int{"p0": 20, "p1": 20})
	primaries[0].Kill(t)
	healthy(primaries[1].Addr, spare[0])
	expectShares(map[string]int{"p1": 40})
	primaries[1].Kill(t)
	healthy(spare[0])
	expectShares(map[string]int{"backup": 40})
	primaries[0].Start(t)
	healthy(primaries[0].Addr, spare[0])
	expectShares(map[string]int{"p0": 40})
}

// Where no check has noticed yet, retries reach the backup, the last of all.
func TestRetriesReachTheBackup(t *testing.T) {
	t.Parallel()
	spare, _ := echoes(t, "backup")
	p := harness.Start(t, webService(nil, unchecked, backends(refusing(t), "weight: 1", spare[0], "role: Backup")), harness.Options{})
	if got := burst(t, p.Addr(t, "web"), 4, 20); got["backup"] != 20 {
		t.Errorf("%v", got)
	}
	p.AwaitMetric(t, 20, "retries_total")
}

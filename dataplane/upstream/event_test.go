package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/digest"
)

// A counter is an Observer that counts changes of health.
type counter struct {
	unobserved
	changes *atomic.Int64
}

func (c counter) EndpointHealth(string, netip.AddrPort, bool, string) { c.changes.Add(1) }

// Of a thousand endpoints that go down at once some are logged, the rest is counted in one line; those that leave a cluster
// without any have lines of their own. The Observer is told of all.
func TestManyChangesAtOnce(t *testing.T) {
	var lines []string
	var changes atomic.Int64
	cs := New(Options{Observer: counter{changes: &changes}, Log: funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})})
	defer cs.Close()
	var clusters []*snapshot.Cluster
	for i := range 50 {
		c := &snapshot.Cluster{ID: fmt.Sprint("c", i), Health: HealthCheck{HealthyThreshold: 1, UnhealthyThreshold: 1}}
		for j := range 20 {
			c.Endpoints = append(c.Endpoints, snapshot.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}), 80), Weight: 1})
		}
		clusters = append(clusters, c)
	}
	cs.Apply(clusters)
	check := func(err error) {
		for _, c := range cs.All() {
			for _, e := range c.Endpoints() {
				e.Checked(err)
			}
		}
	}
	count := func(part string) (n int) {
		for _, l := range lines {
			if strings.Contains(l, part) {
				n++
			}
		}
		return n
	}
	check(errors.New("down"))
	if n := count("endpoint is unhealthy"); n != digest.MaxLines+50 || count(`"serving"=0`) != 50 {
		t.Errorf("%d lines, %d of clusters without an endpoint; want %d and 50", n, count(`"serving"=0`), digest.MaxLines+50)
	}
	cs.summarise()
	want := `"unhealthy"=850 "healthy_again"=0 "ejected"=0 "returned"=0 "clusters"=50 "clusters_that_cannot_serve"=50`
	if last := lines[len(lines)-1]; !strings.Contains(last, want) {
		t.Errorf("the digest is %s, want %s", last, want)
	}
	before := len(lines)
	cs.summarise()
	if len(lines) != before {
		t.Errorf("nothing has happened, and it says %s", lines[before])
	}
	check(nil)
	cs.summarise()
	if n := count("endpoint is healthy again"); n != 2*digest.More || !strings.Contains(lines[len(lines)-1], `"healthy_again"=980`) {
		t.Errorf("%d lines, and %s", n, lines[len(lines)-1])
	}
	if n := changes.Load(); n != 2000 {
		t.Errorf("the observer was told of %d changes, want 2000", n)
	}
}

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A load are clients outside the cluster that send GETs and POSTs to the site through one entry.
type load struct {
	c           *cluster
	entry       entry
	target      string
	gets, posts *traffic.Load
}

func (c *cluster) load(t *testing.T, e entry) *load {
	t.Helper()
	c.targets++
	l := &load{c: c, entry: e, target: fmt.Sprintf("/load/%d", c.targets)}
	options := traffic.Options{Addr: e.address, Workers: 4, Target: l.target, Pause: 10 * time.Millisecond}
	options.Methods = []string{"GET"}
	l.gets = traffic.Start(t, options)
	options.Methods = []string{"POST"}
	l.posts = traffic.Start(t, options)
	// What happens to the cluster shall meet connections that are in use.
	l.await(t, 100)
	return l
}

// await waits until so many more GETs and POSTs have been sent.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	l.gets.Await(t, n)
	l.posts.Await(t, n)
}

// A loss is what a case may lose, and why. A negative number is no bound.
type loss struct {
	gets, posts int
	why         string
}

// stop ends the load, puts its counts into the report, and fails the test where more was lost than may be, or any POST
// was received twice.
func (l *load) stop(t *testing.T, what string, may loss) {
	t.Helper()
	l.await(t, 100)
	gets, posts := l.gets.Stop(), l.posts.Stop()
	r := row{
		what: what, entry: l.entry.name, may: may,
		gets: gets.Sent, getsLost: gets.Lost, posts: posts.Sent, postsLost: posts.Lost,
	}
	// The ledger lags behind the answers by what is on its way.
	eventually(t, patience, func() error {
		getsReceived, _ := l.c.book.Received("GET", l.target)
		received, twice := l.c.book.Received("POST", l.target)
		r.twice = twice
		if getsReceived < gets.Answered || received < posts.Answered {
			return fmt.Errorf("upstreams have told of %d GETs and %d POSTs; %d and %d were answered", getsReceived, received, gets.Answered, posts.Answered)
		}
		return nil
	})
	t.Logf("%s, through %s: %d GETs, %d lost; %d POSTs, %d lost, %d received twice", what, l.entry.name, r.gets, r.getsLost, r.posts, r.postsLost, r.twice)
	for _, tally := range []traffic.Tally{gets, posts} {
		for _, text := range tally.Losses[:min(len(tally.Losses), 5)] {
			t.Log("lost ", text)
		}
	}
	l.c.report.add(r)
	if may.gets >= 0 && r.getsLost > may.gets || may.posts >= 0 && r.postsLost > may.posts {
		t.Errorf("%s: lost %d GETs and %d POSTs; at most %d and %d may be lost", what, r.getsLost, r.postsLost, may.gets, may.posts)
	}
	if r.twice > 0 {
		t.Errorf("%s: upstreams received %d POSTs twice", what, r.twice)
	}
}

package reliability

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// An origin that can work on so many requests at a time, each of which takes so long, is offered three times that.
var overload = scenario{
	name:  "overload",
	title: "three times what the origin can serve is offered",
	may:   "what is too much: 503 `too_many_requests` with `Retry-After`, at once",
	run: func(t *testing.T, r *run) {
		const places, work = 20, 20 * time.Millisecond
		capacity := int(time.Second/work) * places
		if !r.long { // beside other tests, and the race detector
			capacity /= 10
		}
		working := make(chan struct{}, places)
		origin := harness.StartOrigin(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			working <- struct{}{}
			defer func() { <-working }()
			time.Sleep(time.Duration(places) * time.Second / time.Duration(capacity))
		}))
		path, log := logged(t)
		p := harness.Start(t, log+fmt.Sprintf("services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['%s'], limits: {max_requests: %d}}]\n",
			origin.Addr, places+places/5), harness.Options{})
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}, Timeout: harness.Patience}
		t.Cleanup(client.CloseIdleConnections)
		var row row
		var offers []*traffic.Offer
		for _, phase := range []struct {
			rate, seconds int
		}{{capacity * 9 / 10, r.of(2, 10)}, {3 * capacity, r.of(4, 30)}, {capacity * 9 / 10, r.of(2, 5)}} {
			o := traffic.MakeOffer(client, p.URL(t, "web")+"/", phase.rate, time.Duration(phase.seconds)*time.Second)
			offers = append(offers, o)
			row.answered, row.failed, row.lost = row.answered+o.Served, row.failed+len(o.Away), row.lost+o.Other
		}
		row.sent, row.mayFail = row.answered+row.failed+row.lost, -1
		before, meanwhile, after := offers[0], offers[1], offers[2]
		row.seen = fmt.Sprintf("served: %.0f/s of %d/s offered before, %.0f/s of %d/s meanwhile, %.0f/s of %d/s afterwards; turned away within %v (half), %v (99 %%)",
			before.Goodput(), before.Rate, meanwhile.Goodput(), meanwhile.Rate, after.Goodput(), after.Rate, meanwhile.AwayWithin(0.5), meanwhile.AwayWithin(0.99))
		r.report(t, row)
		if len(meanwhile.Away) == 0 {
			t.Error("nothing was turned away: nothing is shown")
		}
		if r.long && meanwhile.Goodput() < 0.8*float64(capacity) {
			t.Errorf("%.0f requests a second were served of %d that the origin can serve", meanwhile.Goodput(), capacity)
		}
		// The access log has as many.
		want := len(before.Away) + len(meanwhile.Away) + len(after.Away)
		if got := 0; !within(func() bool { got = reasons(t, path)["503 too_many_requests"]; return got == want }) {
			t.Errorf("%d lines of the access log say too_many_requests, %d requests were turned away", got, want)
		}
	},
}

package proxy

import (
	"slices"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A gatekeeper is a filter that holds requests up until it is told to let them pass, and then answers them.
type gatekeeper struct {
	filter.Nop
	status  int
	entered chan (chan<- struct{}) // of each request what opens the gate for that one alone
}

func newGatekeeper(status int) *gatekeeper {
	return &gatekeeper{status: status, entered: make(chan (chan<- struct{}))}
}

func (g *gatekeeper) Request(x *exchange.Exchange) filter.Verdict {
	open := make(chan struct{})
	g.entered <- open
	<-open
	x.Response.Status, x.Response.Local = g.status, true
	return filter.Respond
}

// hold begins a request that the gatekeeper holds up; what it returns lets that one end.
func (g *gatekeeper) hold(r *rig, seat *exchange.Seat) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		x, _ := newExchange("192.0.2.1")
		x.Conn.Seat = seat
		r.p.Serve(x)
	}()
	open := <-g.entered
	return func() {
		close(open)
		<-done
	}
}

// refused reports whether a request is turned away, and checks how.
func refused(t *testing.T, r *rig, seat *exchange.Seat, reason exchange.Reason) {
	t.Helper()
	x, d := newExchange("192.0.2.1")
	x.Conn.Seat = seat
	r.p.Serve(x)
	if d.status != 503 || x.Record.Reason != reason || !slices.Contains(d.fields, "Retry-After: 1") || x.Record.Route != "r" {
		t.Errorf("%d, %s, %q, route %q", d.status, x.Record.Reason, d.fields, x.Record.Route)
	}
}

// use makes the rig's proxy follow these limits, as a reload does.
func (r *rig) use(limit int, services ...*snapshot.Service) {
	r.p.Use(&Configuration{Table: r.p.current.Load().Table, MaxRequests: limit, Services: services}, func() {})
}

func TestRequestsAreLimited(t *testing.T) {
	for _, global := range []bool{true, false} {
		g := newGatekeeper(204)
		var s *snapshot.Service
		r := newRig(t, refuse, func(route *snapshot.Route) { s = route.Service }, []filter.Filter{g})
		set := func(most int) {
			next := *s
			if s.MaxRequests = 0; !global {
				s.MaxRequests, next.MaxRequests = most, most
				most = 0
			}
			r.use(most, s, &next)
		}
		before := g.hold(r, nil) // it began when there was no limit: it counts for none
		set(2)
		first, second := g.hold(r, nil), g.hold(r, nil)
		refused(t, r, nil, exchange.TooManyRequests)
		before()
		refused(t, r, nil, exchange.TooManyRequests)
		set(2) // a reload keeps the count
		refused(t, r, nil, exchange.TooManyRequests)
		first()
		third := g.hold(r, nil)
		refused(t, r, nil, exchange.TooManyRequests)
		set(3)
		fourth := g.hold(r, nil)
		refused(t, r, nil, exchange.TooManyRequests)
		second()
		third()
		fourth()
		if n := r.p.running.Load(); n != 0 {
			t.Errorf("%d requests run in the end", n)
		}
		for _, o := range r.p.live {
			if n := o.Requests.Load(); n != 0 {
				t.Errorf("%d requests of the service run in the end", n)
			}
		}
	}
}

// What has become a tunnel is no request any more.
func TestTunnelsAreNotLimited(t *testing.T) {
	var r *rig
	inside := 0
	tunnel := newGatekeeper(101)
	r = newRig(t, refuse, nil, []filter.Filter{tunnel})
	r.use(1)
	x, d := newExchange("192.0.2.1")
	x.Downstream = responder{d, func() { // while the tunnel is open
		end := tunnel.hold(r, nil)
		inside++
		end()
	}}
	go func() { close(<-tunnel.entered) }()
	r.p.Serve(x)
	if inside != 1 || r.p.running.Load() != 0 {
		t.Errorf("%d requests beside the tunnel; %d run in the end", inside, r.p.running.Load())
	}
}

// A responder is a Downstream that does something while it responds.
type responder struct {
	*downstream
	during func()
}

func (r responder) Respond(x *exchange.Exchange) error {
	r.during()
	return r.downstream.Respond(x)
}

func TestConnectionsOfAServiceAreLimited(t *testing.T) {
	g := newGatekeeper(204)
	var s *snapshot.Service
	r := newRig(t, refuse, func(route *snapshot.Route) { s = route.Service }, []filter.Filter{g})
	s.MaxConnections = 2
	r.use(0, s)
	ask := func(seat *exchange.Seat) { g.hold(r, seat)() }
	var a, b, c exchange.Seat
	ask(&a)
	ask(&a) // the same connection
	ask(&b)
	refused(t, r, &c, exchange.Overload)
	r.use(0, s) // a reload keeps the count
	refused(t, r, &c, exchange.Overload)
	a.Leave()
	ask(&c)
	refused(t, r, &a, exchange.Overload)

	// A connection counts for the service of its last request.
	other := new(exchange.Occupancy)
	if !b.Take(other, 1) || other.Connections.Load() != 1 {
		t.Error("the connection does not count for another service")
	}
	ask(&a)
	if b.Leave(); other.Connections.Load() != 0 {
		t.Error("it has ended, and counts still")
	}
	ask(nil) // a connection that counts nowhere
}

func TestLimitsAllocateNothing(t *testing.T) {
	var s *snapshot.Service
	r := newRig(t, refuse, func(route *snapshot.Route) { s = route.Service }, nil)
	s.MaxConnections, s.MaxRequests = 2, 2
	r.use(2, s)
	x, _ := newExchange("192.0.2.1")
	x.Conn.Seat = new(exchange.Seat)
	c := r.p.current.Load()
	if n := testing.AllocsPerRun(100, func() {
		in, _ := r.p.admit(x, c, s)
		in.end()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package upstream

import (
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
	multiplexed "github.com/pingora-proxy/pingora-proxy/dataplane/http2/client"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// A traffic is what an endpoint has once requests are sent to it: connections that wait for their next one, and how long they
// took. Most endpoints of a large configuration never get there: an Endpoint without it takes a quarter of the memory.
type traffic struct {
	idle    pool
	looped  []pool              // of each Loop
	streams multiplexed.Pool    // of connections over HTTP/2
	took    telemetry.Durations // from the request to the response's head
}

// traffic returns what the endpoint has for its requests, made for the first one.
func (e *Endpoint) traffic() *traffic {
	if t := e.used.Load(); t != nil {
		return t
	}
	return e.newTraffic()
}

func (e *Endpoint) newTraffic() *traffic {
	t := &traffic{looped: make([]pool, e.cluster.owner.options.Loops)}
	e.keep(&t.idle)
	for i := range t.looped {
		e.keep(&t.looped[i])
	}
	e.prepareStreams(&t.streams)
	if !e.used.CompareAndSwap(nil, t) {
		return e.used.Load()
	}
	return t
}

// keep makes a pool one of e's.
func (e *Endpoint) keep(idle *pool) {
	idle.most = e.cluster.owner.options.MaxIdle
	idle.done = func(conn *client.Conn, reusable bool) { e.takeBack(idle, conn, reusable) }
}

// idleConns is how many connections wait for their next request.
func (e *Endpoint) idleConns() int {
	t := e.used.Load()
	if t == nil {
		return 0
	}
	n := t.idle.size()
	for i := range t.looped {
		n += t.looped[i].size()
	}
	return n
}

// sweep closes connections that have been idle for age rounds, and those that ended.
func (e *Endpoint) sweep(round, age uint32) {
	t := e.used.Load()
	if t == nil {
		return
	}
	t.idle.sweep(round, age)
	for i := range t.looped {
		t.looped[i].sweep(round, age)
	}
	t.streams.Sweep(age)
}

// renewConns lets no connection that was opened before take a new request. Whoever makes the first one just now reads
// afterwards which way it is to take.
func (e *Endpoint) renewConns() {
	t := e.used.Load()
	if t == nil {
		return
	}
	t.idle.renew()
	for i := range t.looped {
		t.looped[i].renew()
	}
	t.streams.Renew()
}

// closeConns ends the connections that nothing runs on now, and the others when their exchange is over: also of a request that
// has chosen the endpoint, and was not sent yet.
func (e *Endpoint) closeConns() {
	t := e.traffic()
	t.idle.close()
	for i := range t.looped {
		t.looped[i].close()
	}
	t.streams.Close()
}

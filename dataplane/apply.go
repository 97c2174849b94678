package dataplane

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
	"github.com/pingora-proxy/pingora-proxy/dataplane/proxy"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/tcp"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/accesslog"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/trace"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// idleGrace is how long a kept-alive client connection may stay silent when its listener goes; see http1.Server.Drain.
const idleGrace = time.Second

// handshakeGrace is for how long handshakes may go on when their listener goes.
const handshakeGrace = 5 * time.Second

// An openListener is a bound address with the connections that it accepted.
type openListener struct {
	*listener.Listener
	slot   int
	tls    *listener.Terminator // nil: plain HTTP
	server *servers             // of HTTP; nil where it passes bytes on
	gone   chan struct{}        // closed when its last connection has ended

	streams *tcp.Server // nil: HTTP
	through bool        // TLS of its clients goes on to the endpoints
	proxied atomic.Pointer[proxied]
	timeout atomic.Int64    // nanoseconds that a client may take to its first message
	running context.Context // ends what waits for first bytes
	stop    context.CancelFunc
}

// Apply makes s the configuration that serves. Either all of it takes effect, or an error says why and nothing has
// changed. It reuses what lives: listeners by address, clusters by ID, endpoints by address, filters by Key.
func (d *DataPlane) Apply(ctx context.Context, s *snapshot.Snapshot) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining {
		return errors.New("the proxy is stopping: no configuration is taken any more")
	}
	next, err := d.makeRoutes(s)
	if err != nil {
		return err
	}
	streams, err := d.makeStreams(s)
	if err != nil {
		closeNew(next.filters, d.filters)
		return err
	}
	opened, closed, err := d.bind(ctx, s)
	if err != nil {
		closeNew(next.filters, d.filters)
		return err
	}
	// From here on nothing fails but the table, whose errors Translate has ruled out: it is compiled before anything live changes.
	table, err := d.compile(s, opened, next.routes)
	if err == nil {
		err = d.access.Apply(accesslog.Config(s.AccessLog))
	}
	if err == nil {
		err = d.tracer.Apply(trace.Config(s.Tracing))
	}
	if err != nil {
		closeNew(next.filters, d.filters)
		d.unbind(ctx, opened, closed)
		return err
	}
	d.names.follow(s.Clusters)
	d.clusters.Apply(s.Clusters)
	d.names.settle(ctx, func(id string, endpoints []snapshot.Endpoint) { d.clusters.SetEndpoints(id, endpoints) })
	d.join(next)
	d.store.Apply(s.Store)
	dropped := d.swapFilters(next.filters)
	// What the replaced configuration alone used is closed when its last exchange is over.
	d.proxy.Use(&proxy.Configuration{
		Table: table, Hash: s.Hash, Via: s.Limits.Via, MaxRequests: s.Limits.MaxRequests, Services: servicesOf(s),
	}, func() {
		if len(dropped) == 0 {
			return
		}
		d.running.Go(func() { // the request that was the last one does not wait for it
			for _, f := range dropped {
				f.close()
			}
		})
	})
	d.checker.Sync(slices.DeleteFunc(d.clusters.All(), func(c *upstream.Cluster) bool { return c.HealthCheck().Type == upstream.CheckDisabled }))
	d.gate.SetLimit(d.clientLimit(s.Limits.MaxConnections))
	d.handshakes.SetConnections(s.Limits.MaxConnections)
	d.awaitChecks(ctx)
	tables := d.joinStreams(streams, s.Hash)
	d.secure(s, opened, table, tables)
	for _, l := range s.Listeners {
		if t := tables[l]; t != nil {
			opened[keyOf(l)].streams.Use(t)
		}
		d.start(l, opened[keyOf(l)], s)
	}
	for key, l := range closed {
		delete(d.open, key)
		d.retire(l)
	}
	bound := make(map[string]string, len(d.open))
	for _, l := range d.open {
		bound[l.Address()] = l.Addr().String()
	}
	d.table, d.routes = table, next.routes
	d.serving.Store(&serving{snapshot: s, since: time.Now(), bound: bound})
	d.ready.Store(true)
	return nil
}

func servicesOf(s *snapshot.Snapshot) []*snapshot.Service {
	var all []*snapshot.Service
	for _, l := range s.Listeners {
		all = append(all, l.Services...)
	}
	return all
}

// closeNew closes the filters that were made for a configuration that is not taken.
func closeNew(made, live map[string]*liveFilter) {
	for key, f := range made {
		if live[key] != f {
			f.close()
		}
	}
}

// swapFilters makes filters the ones that live, and returns those that nothing names any more.
func (d *DataPlane) swapFilters(filters map[string]*liveFilter) (dropped []*liveFilter) {
	for key, f := range d.filters {
		if filters[key] != f {
			dropped = append(dropped, f)
		}
	}
	d.filters = filters
	return dropped
}

// compile makes the route table. Routes that are new get their groups and counters later.
func (d *DataPlane) compile(s *snapshot.Snapshot, open map[listenerKey]*openListener, live []liveRoute) (*router.Table, error) {
	listeners := make([]router.Listener, 0, len(s.Listeners))
	for _, l := range s.Listeners {
		compiled := router.Listener{Slot: open[keyOf(l)].slot, Snapshot: l, Routes: make([]*router.Route, 0, len(l.Routes))}
		for _, r := range live[:len(l.Routes)] {
			compiled.Routes = append(compiled.Routes, r.live)
		}
		live = live[len(l.Routes):]
		listeners = append(listeners, compiled)
	}
	return d.table.Next(listeners)
}

func emptyTable() *router.Table {
	table, _ := router.Compile(nil) // nothing to be wrong about
	return table
}

// start accepts on a listener that is new, and gives one that is not its options.
func (d *DataPlane) start(s *snapshot.Listener, l *openListener, all *snapshot.Snapshot) {
	options := serverOptions(s, &all.Limits)
	l.follow(s, &all.Limits)
	switch {
	case l.server != nil:
		l.server.SetOptions(options)
		return
	case l.streams == nil:
		l.server = d.newServers(options)
	case d.open[keyOf(s)] == l:
		return
	}
	d.open[keyOf(s)] = l
	d.accept(l)
	d.log.Info("listening", "address", s.Address, "bound", l.Addr().String())
}

func serverOptions(s *snapshot.Listener, limits *snapshot.Limits) http1.ServerOptions {
	o := http1.ServerOptions{
		Limits:        codec.Limits{RequestLine: limits.MaxRequestLine, Bytes: limits.MaxHeaderBytes, Fields: limits.MaxHeaders},
		HeaderTimeout: limits.HeaderTimeout, MinBodyRate: limits.MinBodyRate,
	}
	for _, service := range s.Services {
		o.IdleTimeout = max(o.IdleTimeout, service.IdleTimeout)
	}
	return o
}

func (d *DataPlane) accept(l *openListener) {
	server, slot, terminator := l.server, l.slot, l.tls
	if l.streams != nil {
		l.Silent()
	}
	if l.streams == nil && terminator == nil && d.loops != nil {
		l.Before(func(a *door.Arrival, ended func()) bool {
			if l.proxied.Load() != nil {
				return false
			}
			facts := d.admit(a.Ends, slot)
			server.Start(d.loops.Next().Take(a.FD, a.Remote), *facts, func() {
				d.leave(facts)
				ended()
			})
			return true
		}, d.lookOut)
	}
	go l.Serve(func(nc *net.TCPConn, ends door.Ends) {
		facts := d.admit(ends, slot)
		defer d.leave(facts)
		if !d.unwrap(nc, l, facts) {
			return
		}
		if l.streams != nil {
			d.stream(nc, l, facts)
		} else if terminator == nil {
			server.Serve(nc, facts)
		} else if conn := d.handshake(nc, terminator, facts); conn != nil {
			server.Serve(conn, facts)
		}
	}, func() { d.metrics.RejectConnection(exchange.Overload) }, d.metrics.AcceptErrors.Inc)
}

// lookOut has a Loop accept the connections of a door.
func (d *DataPlane) lookOut(at *door.Door, accept func() (more bool)) (end func(), err error) {
	raw, err := at.SyscallConn()
	if err != nil {
		return nil, err
	}
	var lookout *loop.Lookout
	controlErr := raw.Control(func(fd uintptr) { lookout, err = d.loops.Next().Lookout(int(fd), accept) })
	if err = cmp.Or(controlErr, err); err != nil {
		return nil, err
	}
	return lookout.Close, nil
}

// admit counts a connection, and says what is known of it: not on the stack, see speaksHTTP2.
func (d *DataPlane) admit(ends door.Ends, slot int) *exchange.Conn {
	d.metrics.OpenConnections.Inc()
	d.metrics.Connections.Inc()
	return &exchange.Conn{Listener: slot, Seat: new(exchange.Seat), Remote: ends.Remote, Local: ends.Local}
}

// leave takes back what admit has counted.
func (d *DataPlane) leave(facts *exchange.Conn) {
	d.metrics.OpenConnections.Dec()
	facts.Seat.Leave()
}

// retire stops accepting and lets the connections end.
func (d *DataPlane) retire(l *openListener) {
	if l.server != nil {
		l.server.Drain(idleGrace)
	}
	l.Close()
	d.leaving[l] = struct{}{}
	limit, stopping := d.serving.Load().snapshot.Limits.DrainTimeout, d.draining
	d.running.Go(func() {
		defer l.stop()
		defer time.AfterFunc(handshakeGrace, l.stop).Stop()
		if l.streams != nil && !stopping { // nothing tells their ends to stop; Drain has a time of its own
			defer time.AfterFunc(limit, func() { l.streams.Close() }).Stop()
		}
		if l.tls != nil { // who is silent in the middle of a handshake holds nobody up
			defer time.AfterFunc(handshakeGrace, l.tls.Close).Stop()
		}
		l.Wait()
		close(l.gone)
		d.mu.Lock()
		delete(d.leaving, l)
		d.slots[l.slot] = false
		d.mu.Unlock()
	})
}

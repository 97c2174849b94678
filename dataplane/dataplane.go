package dataplane

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/expiry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/fetcher"
	"github.com/pingora-proxy/pingora-proxy/dataplane/health"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/proxy"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/store"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/accesslog"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/trace"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// Options are what a DataPlane gets of the process around it.
type Options struct {
	Log      logr.Logger
	Metrics  *telemetry.Metrics
	Version  string // of the program, for spans
	Resolver resolver.Options
	// ResolvePatience is how long Apply waits for the addresses of names that are new. 0: two seconds. Where anybody may
	// name what he likes, a name without an answer must not hold up the others' changes.
	ResolvePatience time.Duration

	// Permit is asked about an address before every connection to an endpoint: of requests, retries and health checks,
	// after names were resolved. An error says why it may not be reached. nil: every address may.
	Permit func(addr netip.Addr) error
	// OnEjected is told of endpoints that failed too many requests in a row, and get none for a while. It is called from
	// one goroutine, which no request waits for; a slow one misses some. nil: nobody asks.
	OnEjected func(cluster string, endpoint netip.AddrPort)
	// OnBreaker is told of circuit breakers that changed their state: closed, half-open or open. It is called as OnEjected is.
	OnBreaker func(cluster, state string)
	// Zone is where the proxy runs, for clusters that prefer endpoints of its own zone. Empty: nobody knows.
	Zone string
	// Sockets were passed to the process: listeners take theirs from there. nil: none were.
	Sockets *listener.Sockets
	// CheckPatience is how long the first Apply puts off accepting, until every endpoint was checked once: for a process that
	// takes the place of one that knows which of them are down. 0: it does not wait, and endpoints count as healthy.
	CheckPatience time.Duration
}

// A DataPlane serves requests. Make one with New, run it with Run, and give it a configuration with Apply, before or
// after.
type DataPlane struct {
	log      logr.Logger
	metrics  *telemetry.Metrics
	access   *accesslog.Log
	tracer   *trace.Tracer
	sweeper  *wire.Sweeper
	loops    *loop.Group // nil: each connection has a goroutine
	proxy    *proxy.Proxy
	clusters *upstream.Clusters
	groups   *group.Groups
	checker  *health.Checker
	names    *names
	store    *store.Store // of shared rate limits
	gate     listener.Gate

	handshakes *listener.Handshakes
	sockets    *listener.Sockets
	patience   time.Duration // Options.CheckPatience, until the first Apply

	mu       sync.Mutex // Apply, SetEndpoints and Drain have one writer
	open     map[listenerKey]*openListener
	leaving  map[*openListener]struct{}
	certs    listener.Certificates
	expiries *expiry.Watch
	slots    []bool // the slots of the route table that are taken
	filters  map[string]*liveFilter
	table    *router.Table
	routes   []liveRoute    // in the order of the snapshot
	streamed []*group.Group // of TCP services
	draining bool

	replicas  atomic.Int64
	fetch     *http.Client
	transport *http.Transport // of fetch

	serving  atomic.Pointer[serving]
	ready    atomic.Bool
	stopping atomic.Bool
	stop     context.CancelFunc // of what runs in the background
	calls    context.Context    // of the exchanges of the proxy's own
	hangUp   context.CancelFunc // ends them
	running  sync.WaitGroup
}

// New returns a DataPlane that serves nothing yet. Close ends it.
func New(o Options) *DataPlane {
	d := &DataPlane{
		log: o.Log, metrics: o.Metrics, sweeper: wire.NewSweeper(),
		open: make(map[listenerKey]*openListener), leaving: make(map[*openListener]struct{}),
		filters: make(map[string]*liveFilter), table: emptyTable(), handshakes: listener.NewHandshakes(0),
		sockets: o.Sockets, patience: o.CheckPatience,
	}
	d.fetch, d.transport = fetcher.New(o.Permit)
	d.serving.Store(&serving{snapshot: &snapshot.Snapshot{}})
	d.access = accesslog.New(o.Log.WithName("access-log"), o.Metrics)
	d.tracer = trace.New(o.Log.WithName("tracing"), o.Version, o.Metrics)
	d.store = store.New(snapshot.Store{}, o.Log.WithName("rate-limit-store"), o.Metrics)
	d.proxy = proxy.New(o.Metrics, d.access, d.tracer, o.Log.WithName("proxy"))
	watch := observer{metrics: o.Metrics}
	var waiting chan ejected
	if o.OnEjected != nil {
		waiting = make(chan ejected, maxEjected)
		watch.ejected = waiting
	}
	var trips chan trip
	if o.OnBreaker != nil {
		trips = make(chan trip, maxEjected)
		watch.tripped = trips
	}
	var err error
	if d.loops, err = loop.NewGroup(runtime.GOMAXPROCS(0)); err != nil {
		d.log.Error(err, "each connection gets a goroutine of its own, which takes more memory and time")
	}
	d.clusters = upstream.New(upstream.Options{
		Loops: d.loops.Len(),
		Zone:  o.Zone,
		Log:   o.Log.WithName("upstream"), Observer: watch, Sweeper: d.sweeper, Permit: o.Permit,
	})
	d.groups = group.New(d.clusters)
	d.checker = health.New()
	d.names = newNames(o.Resolver, o.ResolvePatience, d.resolved)
	o.Metrics.SetUpstreams(d.eachUpstream)
	o.Metrics.SetBreakers(d.eachBreaker)
	o.Metrics.SetNames(d.names.resolver.Watched)
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.calls, d.hangUp = context.WithCancel(context.Background())
	d.running.Go(func() { d.sweeper.Run(ctx) })
	if d.loops != nil {
		d.running.Go(func() { d.loops.Run(ctx) })
	}
	d.running.Go(func() { d.clusters.Run(ctx) })
	d.expiries = expiry.New(o.Log)
	d.running.Go(func() { d.expiries.Run(ctx) })
	if o.OnEjected != nil {
		d.running.Go(func() { report(ctx, waiting, o.OnEjected) })
	}
	if o.OnBreaker != nil {
		d.running.Go(func() { reportTrips(ctx, trips, o.OnBreaker) })
	}
	return d
}

// Ready reports whether a configuration is being served and the proxy is not about to stop.
func (d *DataPlane) Ready() bool { return d.ready.Load() && !d.stopping.Load() }

// Unready makes Ready false for good: the proxy is about to stop. Requests are served as before until Drain.
func (d *DataPlane) Unready() { d.stopping.Store(true) }

// Snapshot returns the configuration that serves, and since when.
func (d *DataPlane) Snapshot() (s *snapshot.Snapshot, since time.Time) {
	at := d.serving.Load()
	return at.snapshot, at.since
}

// Clusters returns the live state of all clusters.
func (d *DataPlane) Clusters() []upstream.ClusterStatus { return d.clusters.Status() }

// Bound returns the address that a configured one is bound to, with the port that was chosen for port 0.
func (d *DataPlane) Bound(address string) string { return d.serving.Load().bound[address] }

// serving is what Snapshot and Bound tell, readable while an Apply waits.
type serving struct {
	snapshot *snapshot.Snapshot
	since    time.Time
	bound    map[string]string
}

// SetEndpoints replaces the endpoints of one cluster, and leaves routes alone.
func (d *DataPlane) SetEndpoints(cluster string, endpoints []snapshot.Endpoint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.clusters.SetEndpoints(cluster, endpoints) {
		return fmt.Errorf("there is no cluster %q", cluster)
	}
	return nil
}

// ReopenLog opens the access log's file anew, after it was renamed.
func (d *DataPlane) ReopenLog() error { return d.access.Reopen() }

// Drain stops accepting, lets requests finish, and returns when every connection has ended or ctx is over; those that
// are open then are cut off, and counted in the error. Readiness is false from its first moment.
func (d *DataPlane) Drain(ctx context.Context) error {
	d.Unready()
	d.mu.Lock()
	d.draining = true
	limit := d.serving.Load().snapshot.Limits.DrainTimeout
	for key, l := range d.open {
		delete(d.open, key)
		d.retire(l)
	}
	leaving := make([]*openListener, 0, len(d.leaving))
	for l := range d.leaving {
		leaving = append(leaving, l)
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cut := 0
	for _, l := range leaving {
		select {
		case <-l.gone:
		case <-ctx.Done():
			cut += l.cut()
			<-l.gone
		}
	}
	if cut > 0 {
		noun := "connections were"
		if cut == 1 {
			noun = "connection was"
		}
		return fmt.Errorf("%d %s still busy when the time to drain was over; closed", cut, noun)
	}
	return nil
}

// Close ends everything at once and waits for it. Drain comes before it where requests shall finish.
func (d *DataPlane) Close() {
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	_ = d.Drain(expired)
	d.hangUp()
	d.names.close()
	d.checker.Close()
	d.mu.Lock()
	d.proxy.Use(&proxy.Configuration{Table: emptyTable()}, func() {})
	for key, f := range d.filters {
		f.close()
		delete(d.filters, key)
	}
	d.mu.Unlock()
	d.transport.CloseIdleConnections()
	d.clusters.Close()
	d.store.Close()
	d.stop()
	d.running.Wait()
	d.tracer.Close()
	_ = d.access.Close()
}

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// control is the admin API and the metrics server, and what they show. It implements admin.State.
type control struct {
	plane   *dataplane.DataPlane
	metrics *telemetry.Metrics
	started time.Time
	source  string
	admin   *admin.Server
	prom    *admin.Server
	pprof   atomic.Bool

	mu     sync.Mutex
	failed string // why the last reload was refused
	at     time.Time
	kept   time.Time // when what serves was written to the last good file; zero: it is the cluster's
}

func newControl(p *process, level *telemetry.Level, source string) *control {
	if source == "" {
		source = "command line"
	}
	c := &control{plane: p.plane, metrics: p.metrics, started: time.Now(), source: source}
	o := admin.Options{Log: p.log.WithName("admin"), State: c, Level: level, Metrics: p.metrics, Pprof: c.pprof.Load}
	c.admin, c.prom = admin.NewAdmin(o), admin.NewMetrics(o)
	return c
}

// prepare binds the addresses of a configuration. commit makes them the ones that answer, or takes everything back.
func (c *control) prepare(next *standalone.Loaded) (commit func(ok bool), err error) {
	commitAdmin, err := c.admin.Prepare(configured(next, "admin.bind_address"))
	if err != nil {
		return nil, err
	}
	commitMetrics, err := c.prom.Prepare(configured(next, "metrics.bind_address"))
	if err != nil {
		commitAdmin(false)
		return nil, err
	}
	return func(ok bool) {
		commitAdmin(ok)
		commitMetrics(ok)
		if ok {
			c.pprof.Store(*next.Globals.Admin.Pprof)
		}
	}, nil
}

// configured is the address that somebody has configured, or empty: a default that is taken is skipped.
func configured(l *standalone.Loaded, key string) string {
	if s := l.Setting(key); s.From != standalone.FromDefault {
		return s.Value
	}
	return ""
}

// reloaded notes how a reload went, for the admin API and the metrics.
func (c *control) reloaded(err error) {
	c.metrics.Reload(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed, c.at = "", time.Time{}
	if err != nil {
		c.failed, c.at = err.Error(), time.Now()
	}
}

// stale notes that what serves comes from the last good file, or does no more.
func (c *control) stale(since time.Time, stale bool) {
	c.metrics.ConfigStale(stale)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = since
}

func (c *control) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.admin.Shutdown(ctx)
	c.prom.Shutdown(ctx)
}

// Ready implements admin.State.
func (c *control) Ready() bool { return c.plane.Ready() }

// Overview implements admin.State.
func (c *control) Overview() admin.Overview {
	snapshot, _ := c.plane.Snapshot()
	d := c.describe()
	o := admin.Overview{
		Version: version, StartedAt: c.started, UptimeSeconds: int64(time.Since(c.started).Seconds()),
		Ready: c.Ready(), ConfigHash: snapshot.Hash,
		Listeners: len(d.Listeners), Services: len(d.Services), Routes: len(d.Routes),
		OpenConnections: c.metrics.OpenConnections.Value(), ActiveRequests: c.metrics.ActiveRequests.Value(),
		OpenTunnels: c.metrics.OpenTunnels.Value(),
	}
	for _, e := range c.Endpoints() {
		o.Endpoints.Total++
		if e.Serving {
			o.Endpoints.Healthy++
		}
	}
	return o
}

// Listeners implements admin.State.
func (c *control) Listeners() []admin.Listener { return c.describe().Listeners }

// Services implements admin.State.
func (c *control) Services() []admin.Service { return c.describe().Services }

// Routes implements admin.State.
func (c *control) Routes() []admin.Route { return c.describe().Routes }

// Endpoints implements admin.State.
func (c *control) Endpoints() []admin.Endpoint { return admin.DescribeEndpoints(c.plane.Clusters()) }

// Config implements admin.State.
func (c *control) Config() admin.Config {
	snapshot, at := c.plane.Snapshot()
	config := admin.Config{Hash: snapshot.Hash, Source: c.source, LoadedAt: at, Snapshot: c.describe()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.kept.IsZero() {
		kept := c.kept
		config.StaleSince = &kept
	}
	if c.failed != "" {
		failedAt := c.at
		config.LastError, config.LastErrorAt = c.failed, &failedAt
	}
	return config
}

func (c *control) describe() *admin.Snapshot {
	snapshot, _ := c.plane.Snapshot()
	return admin.Describe(snapshot, c.plane.Clusters(), c.plane.Bound)
}

package main

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin"
	"github.com/pingora-proxy/pingora-proxy/dataplane/admin/outline"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
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
	page    atomic.Bool // the status page answers
	viewer  admin.Viewer
	salt    []byte // of the digests that stand for secrets

	mu       sync.Mutex
	settings []standalone.Setting
	failed   string // why the last reload was refused
	at       time.Time
	kept     time.Time // when what serves was written to the last good file; zero: it is the cluster's
}

func newControl(p *process, level *telemetry.Level, source string) *control {
	if source == "" {
		source = "command line"
	}
	c := &control{plane: p.plane, metrics: p.metrics, started: time.Now(), source: source, salt: make([]byte, 16)}
	_, _ = rand.Read(c.salt) // never fails
	o := admin.Options{
		Log: p.log.WithName("admin"), State: c, Level: level, Metrics: p.metrics, Pprof: c.pprof.Load, Dashboard: c.page.Load,
		Sockets: p.sockets,
	}
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
			c.page.Store(*next.Globals.Admin.Dashboard)
			c.mu.Lock()
			c.settings = next.Settings
			c.mu.Unlock()
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

// offer returns copies of the servers' sockets, for a process that takes this one's place.
func (c *control) offer() ([]listener.Socket, error) {
	out, err := c.admin.Offer()
	if err != nil {
		return nil, err
	}
	more, err := c.prom.Offer()
	return append(out, more...), err
}

// leave stops answering, for a process that listens on the same sockets.
func (c *control) leave() {
	c.admin.Leave()
	c.prom.Leave()
}

// Ready implements admin.State.
func (c *control) Ready() bool { return c.plane.Ready() }

// Overview implements admin.State.
func (c *control) Overview() admin.Overview { return c.overview(c.describe()) }

func (c *control) overview(d *admin.Snapshot) admin.Overview {
	snapshot, _ := c.plane.Snapshot()
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

// Status implements admin.State.
func (c *control) Status() admin.Status {
	snapshot, _ := c.plane.Snapshot()
	status := c.viewer.Status(snapshot, c.plane.Clusters(), c.metrics)
	status.Config = c.Config()
	d := status.Config.Snapshot
	status.Overview = c.overview(d) // of the same description: to make one takes a while where there are thousands of routes
	status.Config.Snapshot, status.Listeners, status.Services = nil, d.Listeners, d.Services
	return status
}

// Outline implements admin.State.
func (c *control) Outline() admin.Outline {
	snapshot, _ := c.plane.Snapshot()
	c.mu.Lock()
	settings := c.settings
	c.mu.Unlock()
	return outlineOf(snapshot, settings, c.salt)
}

// outlineOf writes a configuration down for a comparison.
func outlineOf(s *snapshot.Snapshot, settings []standalone.Setting, salt []byte) admin.Outline {
	o := admin.Outline{Hash: s.Hash, Salt: salt, Settings: []admin.Setting{}, Parts: outline.Of(s, salt)}
	for _, set := range settings {
		o.Settings = append(o.Settings, admin.Setting{
			Key: set.Key, Variable: set.Variable, Value: outline.Public(set.Value, salt), From: string(set.From),
		})
	}
	return o
}

// Explain implements admin.State.
func (c *control) Explain(q admin.Question) (*admin.Explanation, error) {
	snapshot, _ := c.plane.Snapshot()
	return admin.Explain(snapshot, c.plane.Clusters(), c.plane.Bound, q)
}

func (c *control) describe() *admin.Snapshot {
	snapshot, _ := c.plane.Snapshot()
	return admin.Describe(snapshot, c.plane.Clusters(), c.plane.Bound)
}

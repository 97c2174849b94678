package proxy

import (
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/accesslog"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/trace"
)

// A Proxy serves exchanges on the configuration that is current when they begin. It implements exchange.Handler.
type Proxy struct {
	metrics *telemetry.Metrics
	access  *accesslog.Log
	tracer  *trace.Tracer
	log     logr.Logger
	current atomic.Pointer[Configuration]
	running atomic.Int64 // requests that count for Configuration.MaxRequests

	toldExhausted atomic.Int64 // when the log was told last that this machine has run out of something, on the monotonic clock

	live map[string]*exchange.Occupancy // of services with a limit, by their names; Use alone changes it
}

// New returns a Proxy that answers 404 until Use. What single requests failed of goes to log, at level debug.
func New(metrics *telemetry.Metrics, access *accesslog.Log, tracer *trace.Tracer, log logr.Logger) *Proxy {
	p := &Proxy{metrics: metrics, access: access, tracer: tracer, log: log}
	p.current.Store(&Configuration{Table: &router.Table{}})
	return p
}

// A Configuration is what a Proxy serves. It is immutable but for the count of exchanges that use it.
type Configuration struct {
	Table *router.Table
	Hash  string // for the access log
	Via   bool   // add Via fields

	MaxRequests int                 // that may run at the same time; 0: no limit
	Services    []*snapshot.Service // all that the table has

	occupied map[*snapshot.Service]*exchange.Occupancy
	replaced func()
	users    atomic.Int64
	retired  atomic.Bool
	unused   atomic.Bool
}

// Use makes c the configuration of the exchanges that begin from now on. replaced is called once, when the last
// exchange of the configuration before it is over: what that one alone used may be closed then. Use has one caller at a time.
func (p *Proxy) Use(c *Configuration, replaced func()) {
	c.occupied = p.occupancies(c.Services)
	old := p.current.Swap(c)
	old.users.Add(1)
	old.replaced = replaced
	old.retired.Store(true)
	old.leave()
}

// enter returns the current configuration, which stays in use until leave.
func (p *Proxy) enter() *Configuration {
	for {
		c := p.current.Load()
		c.users.Add(1)
		if !c.retired.Load() {
			return c
		}
		c.leave() // it was replaced in between
	}
}

func (c *Configuration) leave() {
	if c.users.Add(-1) == 0 && c.retired.Load() && c.unused.CompareAndSwap(false, true) {
		c.replaced()
	}
}

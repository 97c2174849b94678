package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A stand is a proxy with one origin behind it, and two listeners whose requests share the connections to it.
type stand struct {
	plane   *dataplane.DataPlane
	origin  *origin
	address string // plain
	secured string // TLS
}

const (
	listenAddress  = "127.0.0.1:0"
	securedAddress = "127.0.0.3:0" // port 0 twice on one address would be one listener
)

// The limits of a stand's listener.
const (
	maxRequestLine = 2048
	maxHeaderBytes = 16384
	maxHeaders     = 64
)

func newStand(t testing.TB) *stand {
	t.Helper()
	s := &stand{origin: startOrigin(t)}
	s.plane = dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("test")})
	listener := func(address string, settings *snapshot.TLS) *snapshot.Listener {
		service := &snapshot.Service{
			Name: address, IdleTimeout: time.Minute, HealthPath: "/health", TLS: settings,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix(trustedClient + "/32")},
		}
		route := &snapshot.Route{
			Service: service, Name: "all", Clusters: []snapshot.WeightedCluster{{Cluster: "origin", Weight: 1}},
			Timeouts: snapshot.Timeouts{Connect: patience, Request: patience, Idle: patience},
			Retry:    snapshot.Retry{Attempts: 2},
		}
		return &snapshot.Listener{
			Address: address, TLS: settings != nil, Services: []*snapshot.Service{service}, Routes: []*snapshot.Route{route},
		}
	}
	chain, key := harness.NewAuthority(t, "an authority").Issue(t, nil, "127.0.0.1")
	err := s.plane.Apply(context.Background(), &snapshot.Snapshot{
		Listeners: []*snapshot.Listener{
			listener(listenAddress, nil),
			listener(securedAddress, &snapshot.TLS{
				Certificates: []snapshot.Certificate{{Name: "a", Chain: []byte(chain), Key: snapshot.Secret(key)}},
			}),
		},
		Clusters: []*snapshot.Cluster{{
			ID:        "origin",
			Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort(s.origin.listener.Addr().String()), Weight: 1}},
			Health:    snapshot.HealthCheck{Type: snapshot.CheckDisabled},
		}},
		Limits: snapshot.Limits{
			MaxRequestLine: maxRequestLine, MaxHeaderBytes: maxHeaderBytes, MaxHeaders: maxHeaders,
			HeaderTimeout: patience, DrainTimeout: patience,
		},
		AccessLog: snapshot.AccessLog{Path: "off"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.address, s.secured = s.plane.Bound(listenAddress), s.plane.Bound(securedAddress)
	return s
}

func (s *stand) close() {
	s.plane.Close()
	s.origin.close()
}

// stands hands out stands. One whose row failed is not handed out again: its connections may be out of step.
type stands struct {
	mu   sync.Mutex
	free []*stand
	all  []*stand
}

func (p *stands) take(t testing.TB) *stand {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s
	}
	s := newStand(t)
	p.all = append(p.all, s)
	return s
}

func (p *stands) give(s *stand) {
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
}

// close closes the stands, and fails where victims were not served on used connections: they would show nothing.
func (p *stands) close(t *testing.T) {
	t.Helper()
	served, reused := 0, 0
	for _, s := range p.all {
		s.close()
		served, reused = served+s.origin.victims, reused+s.origin.reused
	}
	t.Logf("%d of %d requests of others were served on connections that had served before", reused, served)
	if served > 1000 && reused < served/2 {
		t.Errorf("of %d requests of others only %d were served on connections that had served before", served, reused)
	}
}

var victims atomic.Int64

// victim is a request of somebody who has nothing to do with a row: its answer must be its own.
func victim(c *client) error {
	target := fmt.Sprint(victimPath, c.scheme, "/", victims.Add(1))
	if err := c.send(get(target), whole, nil); err != nil {
		return err
	}
	r, err := c.read("GET", nil)
	if err != nil {
		return err
	}
	if r.status != "200" || r.body != "GET "+target || len(r.interim) > 0 {
		return fmt.Errorf("%w: another request's answer: %s %v %q instead of %q", errNotHTTP, r.status, r.fields, r.body, "GET "+target)
	}
	return nil
}

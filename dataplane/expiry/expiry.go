package expiry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

const (
	// notice is how long before its end the log begins to warn of a certificate.
	notice = 30 * 24 * time.Hour
	// again is after how long it warns again.
	again = 24 * time.Hour
)

// An Expiry is a certificate that somebody has to replace in time.
type Expiry struct {
	Owner string // the service
	Role  string // what it is for
	Name  string // where it comes from, or whose it is
	Ends  time.Time
}

// A Watch has the certificates of the configuration that serves, and when the log warned of each.
type Watch struct {
	log logr.Logger
	now func() time.Time

	mu   sync.Mutex
	list []Expiry
	told map[Expiry]time.Time
}

// New returns a Watch of nothing.
func New(log logr.Logger) *Watch {
	return &Watch{log: log, now: time.Now, told: map[Expiry]time.Time{}}
}

// Follow makes list the certificates that are watched, and warns of those that it has not warned of lately.
func (x *Watch) Follow(list []Expiry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = list
	named := make(map[Expiry]bool, len(list))
	for _, e := range list {
		named[e] = true
	}
	for e := range x.told {
		if !named[e] {
			delete(x.told, e)
		}
	}
	x.look()
}

// List is what is watched.
func (x *Watch) List() []Expiry {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.list)
}

// look warns of what ends soon. The caller holds x.mu.
func (x *Watch) look() {
	now := x.now()
	for _, e := range x.list {
		left := e.Ends.Sub(now)
		if last, told := x.told[e]; left > notice || told && now.Sub(last) < again {
			continue
		}
		x.told[e] = now
		message := "a certificate ends soon: replace it"
		if left <= 0 {
			message = "a certificate has ended: replace it"
		}
		telemetry.Warn(x.log, message, "service", e.Owner, "for", e.Role, "certificate", e.Name,
			"ends", e.Ends.UTC().Format(time.RFC3339), "days", int(left/(24*time.Hour)))
	}
}

// Run looks now and then until ctx is over.
func (x *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			x.mu.Lock()
			x.look()
			x.mu.Unlock()
		}
	}
}

// Of lists the certificates of the services' policies.
func Of(namespace, service string, p *listener.Policy) []Expiry {
	owner := ownerOf(namespace, service)
	var out []Expiry
	for _, c := range p.Usable() {
		out = append(out, Expiry{owner, "clients", c.Name, c.NotAfter()})
	}
	return append(out, ofAuthorities(owner, "verifying clients", p.Authorities())...)
}

func ownerOf(namespace, service string) string {
	if namespace == "" {
		return service
	}
	return namespace + "/" + service
}

func ofAuthorities(owner, role string, list []*x509.Certificate) []Expiry {
	out := make([]Expiry, 0, len(list))
	for _, c := range list {
		out = append(out, Expiry{owner, role, c.Subject.String(), c.NotAfter})
	}
	return out
}

// OfClusters lists the certificates that endpoints are shown, and those that theirs are verified with.
func OfClusters(clusters []*snapshot.Cluster) []Expiry {
	var out []Expiry
	seen := map[*snapshot.UpstreamTLS]bool{} // the clusters of a service share it
	for _, c := range clusters {
		u := c.TLS
		if u == nil || seen[u] {
			continue
		}
		seen[u] = true
		if authorities, err := listener.Authorities(u.CA); err == nil {
			out = append(out, ofAuthorities(c.Service, "verifying endpoints", authorities)...)
		}
		if u.Certificate == nil {
			continue
		}
		if pair, err := tls.X509KeyPair(u.Certificate.Chain, u.Certificate.Key); err == nil {
			out = append(out, Expiry{c.Service, "endpoints", u.Certificate.Name, pair.Leaf.NotAfter})
		}
	}
	return out
}

package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

const (
	// expiryNotice is how long before its end the log begins to warn of a certificate.
	expiryNotice = 30 * 24 * time.Hour
	// expiryAgain is after how long it warns again.
	expiryAgain = 24 * time.Hour
)

// An expiry is a certificate that somebody has to replace in time.
type expiry struct {
	owner string // the service
	role  string // what it is for
	name  string // where it comes from, or whose it is
	ends  time.Time
}

// expiries are the certificates of the configuration that serves, and when the log warned of each.
type expiries struct {
	log logr.Logger
	now func() time.Time

	mu   sync.Mutex
	list []expiry
	told map[expiry]time.Time
}

func newExpiries(log logr.Logger) *expiries {
	return &expiries{log: log, now: time.Now, told: map[expiry]time.Time{}}
}

// follow makes list the certificates that are watched, and warns of those that it has not warned of lately.
func (x *expiries) follow(list []expiry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = list
	named := make(map[expiry]bool, len(list))
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

// look warns of what ends soon. The caller holds x.mu.
func (x *expiries) look() {
	now := x.now()
	for _, e := range x.list {
		left := e.ends.Sub(now)
		if last, told := x.told[e]; left > expiryNotice || told && now.Sub(last) < expiryAgain {
			continue
		}
		x.told[e] = now
		message := "a certificate ends soon: replace it"
		if left <= 0 {
			message = "a certificate has ended: replace it"
		}
		telemetry.Warn(x.log, message, "service", e.owner, "for", e.role, "certificate", e.name,
			"ends", e.ends.UTC().Format(time.RFC3339), "days", int(left/(24*time.Hour)))
	}
}

// run looks now and then until ctx is over.
func (x *expiries) run(ctx context.Context) {
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

// expiriesOf lists the certificates of the services' policies.
func expiriesOf(namespace, service string, p *listener.Policy) []expiry {
	owner := ownerOf(namespace, service)
	var out []expiry
	for _, c := range p.Usable() {
		out = append(out, expiry{owner, "clients", c.Name, c.NotAfter()})
	}
	return append(out, ofAuthorities(owner, "verifying clients", p.Authorities())...)
}

func ownerOf(namespace, service string) string {
	if namespace == "" {
		return service
	}
	return namespace + "/" + service
}

func ofAuthorities(owner, role string, list []*x509.Certificate) []expiry {
	out := make([]expiry, 0, len(list))
	for _, c := range list {
		out = append(out, expiry{owner, role, c.Subject.String(), c.NotAfter})
	}
	return out
}

// upstreamExpiries lists the certificates that endpoints are shown, and those that theirs are verified with.
func upstreamExpiries(clusters []*snapshot.Cluster) []expiry {
	var out []expiry
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
			out = append(out, expiry{c.Service, "endpoints", u.Certificate.Name, pair.Leaf.NotAfter})
		}
	}
	return out
}

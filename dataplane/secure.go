package dataplane

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/expiry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/tcp"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// secure gives the listeners that speak TLS what their services are secured with. Which service a name belongs to is the
// table's to say, so that connections and requests go by the same rule.
func (d *DataPlane) secure(
	s *snapshot.Snapshot, open map[listenerKey]*openListener, table *router.Table, tables map[*snapshot.Listener]*tcp.Table,
) {
	var ends []telemetry.Certificate
	var watched []expiry.Expiry
	for _, l := range s.Listeners {
		if !l.TLS {
			continue
		}
		if t := tables[l]; t != nil {
			for name, p := range d.secureStreams(l, open[keyOf(l)], t, s.Limits.HeaderTimeout) {
				ends = append(ends, endsOf(name.Namespace, name.Name, p)...)
				watched = append(watched, expiry.Of(name.Namespace, name.Name, p)...)
			}
			continue
		}
		byService := make(map[*snapshot.Service]*listener.Policy, len(l.Services))
		policies := make([]*listener.Policy, 0, len(l.Services))
		for _, service := range l.Services {
			p := listener.NewPolicy(service.TLS, &d.certs)
			byService[service] = p
			policies = append(policies, p)
			ends = append(ends, endsOf(service.Namespace, service.Name, p)...)
			watched = append(watched, expiry.Of(service.Namespace, service.Name, p)...)
		}
		live := open[keyOf(l)]
		slot := live.slot
		live.tls.Use(s.Limits.HeaderTimeout, policies, func(serverName string) *listener.Policy {
			if owner := table.Owner(slot, []byte(serverName)); owner != nil {
				return byService[owner.Snapshot]
			}
			return nil
		})
	}
	d.certs.Settle()
	d.metrics.SetCertificates(ends)
	d.expiries.Follow(append(watched, expiry.OfClusters(s.Clusters)...))
}

// endsOf lists when the certificates of a service end. Of several with one name the one counts that ends first.
func endsOf(namespace, service string, p *listener.Policy) []telemetry.Certificate {
	var out []telemetry.Certificate
	for _, c := range p.Usable() {
		i := slices.IndexFunc(out, func(o telemetry.Certificate) bool { return o.Name == c.Name })
		if i < 0 {
			out = append(out, telemetry.Certificate{Namespace: namespace, Service: service, Name: c.Name, NotAfter: c.NotAfter()})
		} else if c.NotAfter().Before(out[i].NotAfter) {
			out[i].NotAfter = c.NotAfter()
		}
	}
	return out
}

// handshake makes a TLS connection of one that was accepted, and writes down what it has learnt. It returns nil where the
// connection is closed.
func (d *DataPlane) handshake(nc *net.TCPConn, terminator *listener.Terminator, facts *exchange.Conn) *tls.Conn {
	begun := time.Now()
	conn, policy, err := terminator.Handshake(nc, wire.NewCarrier(nc))
	if err != nil {
		if !errors.Is(err, io.EOF) { // who comes and goes, as a health check of a load balancer does, says nothing
			reason := exchange.TLSHandshake
			if errors.Is(err, listener.ErrHandshakes) {
				reason = exchange.TooManyHandshakes
			}
			d.metrics.RejectConnection(reason)
			d.log.V(1).Info("a TLS handshake failed", "error", err.Error(), "client", facts.Remote.String(),
				"address", facts.Local.String(), "ms", time.Since(begun).Milliseconds())
		}
		return nil
	}
	state := conn.ConnectionState()
	facts.Secure = true
	facts.ServerName = strings.ToLower(state.ServerName)
	facts.TLSVersion = strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	facts.ClientAuth = policy.ClientAuth()
	if len(state.VerifiedChains) > 0 {
		leaf := state.PeerCertificates[0]
		subject, _ := listener.Subject(leaf) // read once already, while it was verified
		facts.Certificate = &exchange.ClientCertificate{Subject: subject, Fingerprint: listener.Fingerprint(leaf)}
	}
	return conn
}

// cut ends everything on the connections of a listener at once, and returns how many there were.
func (l *openListener) cut() int {
	if l.tls != nil {
		l.tls.Close()
	}
	l.stop()
	if l.streams != nil {
		return l.streams.Close()
	}
	return l.server.Close()
}

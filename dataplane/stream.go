package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/tcp"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// passesThrough says whether TLS of a listener's clients goes on to the endpoints.
func passesThrough(l *snapshot.Listener) bool {
	return slices.ContainsFunc(l.Streams, func(s *snapshot.Stream) bool { return s.Passthrough })
}

// newStreams makes a listener one of TCP services.
func (d *DataPlane) newStreams(open *openListener, l *snapshot.Listener) {
	open.through = passesThrough(l)
	if open.tls != nil {
		open.tls.Raw()
	}
	open.streams = tcp.NewServer(tcp.Options{Log: d.log.WithName("tcp"), Metrics: d.metrics, Access: d.access})
}

// makeStreams makes the streams of s, without what needs live clusters.
func (d *DataPlane) makeStreams(s *snapshot.Snapshot) (map[*snapshot.Listener][]*tcp.Stream, error) {
	all := make(map[*snapshot.Listener][]*tcp.Stream)
	for _, l := range s.Listeners {
		for _, one := range l.Streams {
			stream := &tcp.Stream{Snapshot: one}
			if one.Access != nil {
				var err error
				if stream.Access, err = one.Access.New(filter.Env{Log: d.log.WithName("filter")}); err != nil {
					return nil, fmt.Errorf("service %s: %w", streamID(one), err)
				}
			}
			all[l] = append(all[l], stream)
		}
	}
	return all, nil
}

func streamID(s *snapshot.Stream) string { return s.Namespace + "/" + s.Name }

// joinStreams gives the streams their live parts, when the clusters live, and makes the tables of the listeners.
func (d *DataPlane) joinStreams(all map[*snapshot.Listener][]*tcp.Stream, hash string) map[*snapshot.Listener]*tcp.Table {
	var live []*telemetry.StreamMetrics
	before := d.streamed
	d.streamed = nil
	tables := make(map[*snapshot.Listener]*tcp.Table, len(all))
	for l, streams := range all {
		for _, one := range streams {
			s := one.Snapshot
			if len(s.Clusters) > 0 {
				one.Group = d.groups.Get("tcp "+streamID(s), s.Clusters, s.Balance)
				d.streamed = append(d.streamed, one.Group)
			}
			one.Metrics = d.metrics.Stream(s.Namespace, s.Name)
			live = append(live, one.Metrics)
		}
		tables[l] = tcp.NewTable(streams, hash)
	}
	for _, g := range before {
		d.groups.Release(g)
	}
	d.metrics.KeepStreams(live)
	return tables
}

// secureStreams gives a listener what its TCP services are secured with, and returns that. Handshakes go by table, whatever
// serves by then.
func (d *DataPlane) secureStreams(
	l *snapshot.Listener, live *openListener, table *tcp.Table, timeout time.Duration,
) map[*snapshot.Stream]*listener.Policy {
	byStream := make(map[*snapshot.Stream]*listener.Policy, len(l.Streams))
	policies := make([]*listener.Policy, 0, len(l.Streams))
	for _, s := range l.Streams {
		p := listener.NewPolicy(s.TLS, &d.certs)
		byStream[s] = p
		policies = append(policies, p)
	}
	live.tls.Use(timeout, policies, func(serverName string) *listener.Policy {
		if found := table.Find(serverName); found != nil {
			return byStream[found.Snapshot]
		}
		return nil
	})
	return byStream
}

// A proxied says from whom PROXY headers come, and how long they may take.
type proxied struct {
	trusted []netip.Prefix
	timeout time.Duration
}

// follow gives a listener what it goes by before the first byte of a connection is its client's.
func (l *openListener) follow(s *snapshot.Listener, limits *snapshot.Limits) {
	l.timeout.Store(int64(limits.HeaderTimeout))
	var p *proxied
	if s.ProxyProtocol != nil {
		p = &proxied{trusted: s.ProxyProtocol, timeout: limits.HeaderTimeout}
	}
	l.proxied.Store(p)
}

// unwrap reads the PROXY header of a connection where its listener expects one, and makes the ends that it tells of those
// of the connection. It returns false where the connection is closed.
func (d *DataPlane) unwrap(nc *net.TCPConn, l *openListener, facts *exchange.Conn) bool {
	p := l.proxied.Load()
	if p == nil {
		return true
	}
	err := errors.New("the peer is not one of the trusted proxies")
	var source, destination netip.AddrPort
	peer := facts.Remote.Addr().Unmap()
	if slices.ContainsFunc(p.trusted, func(n netip.Prefix) bool { return n.Contains(peer) }) {
		ctx, cancel := context.WithTimeout(l.running, p.timeout)
		source, destination, err = listener.ReadProxyHeader(ctx, nc)
		cancel()
	}
	if err != nil {
		if !errors.Is(err, io.EOF) { // who comes and goes, as a health check of a load balancer does, says nothing
			d.metrics.RejectConnection(exchange.ProxyHeader)
			d.log.V(1).Info("a connection was closed before its first byte", "error", err.Error(), "peer", facts.Remote.String(),
				"address", facts.Local.String())
		}
		_ = nc.Close()
		return false
	}
	if source.IsValid() {
		facts.Remote, facts.Local = source, destination
	}
	return true
}

// stream serves a connection of a listener of TCP services.
func (d *DataPlane) stream(nc *net.TCPConn, l *openListener, facts *exchange.Conn) {
	switch {
	case l.tls != nil:
		if conn := d.handshake(nc, l.tls, facts); conn != nil {
			l.streams.Serve(conn, *facts)
		}
		return
	case l.through:
		ctx, cancel := context.WithTimeout(l.running, time.Duration(l.timeout.Load()))
		name, err := listener.ServerName(ctx, nc)
		cancel()
		switch {
		case err != nil:
			if !errors.Is(err, io.EOF) {
				d.metrics.RejectConnection(exchange.TLSHandshake)
				d.log.V(1).Info("a TLS connection cannot be passed on", "error", err.Error(), "client", facts.Remote.String(),
					"address", facts.Local.String())
			}
			_ = nc.Close()
			return
		case name == "" || l.streams.Find(name) == nil:
			d.metrics.RejectConnection(exchange.UnknownName)
			listener.RefuseName(nc)
			return
		}
		facts.ServerName = name
	}
	l.streams.Serve(nc, *facts)
}

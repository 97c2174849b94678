package group

import (
	"crypto/subtle"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/affinity"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
)

// asked is a cluster that requests may ask for.
type asked struct {
	cluster  *upstream.Cluster
	override snapshot.Override
}

// maxCookies is how many cookies of one name are looked at. Browsers send two of them where a longer path or domain has
// its own.
const maxCookies = 4

// Choose finds out where x wants to go, for Pick. It is called once, before it.
func (g *Group) Choose(x *exchange.Exchange, w *Choice) {
	if g.settings.HashOn != snapshot.HashNothing {
		w.Hash = g.hash(x)
	}
	for i := range g.asked {
		if a := &g.asked[i]; asks(&x.Request.Header, &a.override) && a.cluster.CanServe() {
			w.override, w.directed = a.cluster, true
			break
		}
	}
	if s := g.sticky; s != nil {
		g.follow(x, w, s)
	}
}

// hash is the hash of the request's key; 0: it has none.
func (g *Group) hash(x *exchange.Exchange) uint64 {
	var key []byte
	switch g.settings.HashOn {
	case snapshot.HashClientIP:
		return balance.HashAddr(x.ClientIP)
	case snapshot.HashHeader:
		key, _ = x.Request.Header.Get(g.settings.HashName)
	case snapshot.HashCookie:
		key = affinity.Cookie(&x.Request.Header, g.settings.HashName)
	case snapshot.HashPath:
		if key = x.Record.Path; key == nil { // the one that the client asked for, not what a rewrite made of it
			key = x.Request.Path
		}
	case snapshot.HashNothing:
	}
	if len(key) == 0 {
		return 0
	}
	return balance.Hash(key)
}

// asks reports whether a request carries what o says.
func asks(h *exchange.Header, o *snapshot.Override) bool {
	if o.Header != "" {
		value, ok := h.Get(o.Header)
		return ok && string(value) == o.Value
	}
	found := false
	affinity.Cookies(h, o.Cookie, func(value []byte) bool {
		found = string(value) == o.Value
		return !found
	})
	return found
}

// follow finds the endpoint that the client's cookie names, if that can serve now. Where the request asks for a cluster,
// the endpoint must be one of its.
func (g *Group) follow(x *exchange.Exchange, w *Choice, s *stickiness) {
	n := 0
	now := time.Now()
	affinity.Cookies(&x.Request.Header, s.signer.Name(), func(value []byte) bool {
		id, renew, ok := s.signer.Read(value, now)
		if ok {
			if e := s.endpoint(g, id); e != nil && g.open(e.Cluster(), w.override) {
				w.stuck, w.renew, w.directed = e, renew, true
				return false
			}
		}
		n++
		return n < maxCookies
	})
}

// open reports whether a client may stay at a cluster: it is the one that the request asks for, or, where that asks for
// none, one whose turn comes now.
func (g *Group) open(c, override *upstream.Cluster) bool {
	if override != nil {
		return c == override
	}
	return slices.Contains(g.current().clusters, c)
}

// Stick adds a cookie to the response that keeps the client at e, which has answered, unless the client has one that will
// do. It adds nothing where clients have no endpoint of their own.
func (g *Group) Stick(x *exchange.Exchange, w *Choice, e *upstream.Endpoint) {
	s := g.sticky
	if s == nil || w.stuck == e && !w.renew {
		return
	}
	var buf [512]byte
	value := s.signer.Append(buf[:0], s.signer.ID(e.Addr()), time.Now(), x.Conn != nil && x.Conn.Secure)
	x.Response.Header.AddID(exchange.SetCookie, value)
}

// A stickiness is what keeps the clients of one group at their endpoints.
type stickiness struct {
	signer *affinity.Signer
	roster atomic.Pointer[roster]
	mu     sync.Mutex // one goroutine makes a new roster
}

// A roster is the endpoints that can serve, by their names in cookies.
type roster struct {
	version uint64 // of all clusters, that it was made of
	byID    map[uint64]*upstream.Endpoint
}

// newStickiness returns nil where clients have no endpoint of their own. secret is the key where none is configured.
func newStickiness(g *Group, secret []byte) *stickiness {
	s := g.settings.Sticky
	if s == nil {
		return nil
	}
	key := []byte(s.Key)
	if len(key) == 0 {
		key = secret
	}
	scope := ""
	if len(g.members) > 0 { // the routes of a service share the cookie, as far as they share endpoints
		scope = g.members[0].cluster.Settings().Service
	}
	return &stickiness{signer: affinity.New(s.Cookie, scope, key, s.TTL)}
}

// endpoint returns the endpoint that can serve and that cookies call id, or nil.
func (s *stickiness) endpoint(g *Group, id uint64) *upstream.Endpoint {
	r := s.roster.Load()
	if r == nil || r.version != g.clusters.Version() {
		s.mu.Lock()
		version := g.clusters.Version() // before the clusters are asked
		if r = s.roster.Load(); r == nil || r.version != version {
			r = s.list(g, version)
			s.roster.Store(r)
		}
		s.mu.Unlock()
	}
	return r.byID[id]
}

func (s *stickiness) list(g *Group, version uint64) *roster {
	r := &roster{version: version, byID: map[uint64]*upstream.Endpoint{}}
	add := func(e *upstream.Endpoint) {
		if id := s.signer.ID(e.Addr()); r.byID[id] == nil {
			r.byID[id] = e
		}
	}
	for i := range g.members {
		g.members[i].cluster.EachServing(add)
	}
	for i := range g.asked {
		g.asked[i].cluster.EachServing(add)
	}
	return r
}

func sameBalance(a, b snapshot.Balance) bool {
	if (a.Sticky == nil) != (b.Sticky == nil) || a.HashOn != b.HashOn || a.HashName != b.HashName {
		return false
	}
	return a.Sticky == nil || a.Sticky.Cookie == b.Sticky.Cookie && a.Sticky.TTL == b.Sticky.TTL &&
		subtle.ConstantTimeCompare(a.Sticky.Key, b.Sticky.Key) == 1
}

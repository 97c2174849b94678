package upstream

import (
	"crypto/subtle"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/affinity"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
)

// asked is a cluster that requests may ask for.
type asked struct {
	cluster  *Cluster
	override snapshot.Override
}

// maxCookies is how many cookies of one name are looked at. Browsers send two of them where a longer path or domain has
// its own.
const maxCookies = 4

// Choose finds out where x wants to go, for Pick. It is called once, before it.
func (g *Group) Choose(x *exchange.Exchange, w *Choice) {
	if g.settings.HashOn != snapshot.HashNothing {
		w.hash = g.hash(x)
	}
	for i := range g.asked {
		if a := &g.asked[i]; asks(&x.Request.Header, &a.override) && a.cluster.canServe() {
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
			if e := s.endpoint(g, id); e != nil && g.open(e.cluster, w.override) {
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
func (g *Group) open(c, override *Cluster) bool {
	if override != nil {
		return c == override
	}
	return slices.Contains(g.current().clusters, c)
}

// Stick adds a cookie to the response that keeps the client at e, which has answered, unless the client has one that will
// do. It adds nothing where clients have no endpoint of their own.
func (g *Group) Stick(x *exchange.Exchange, w *Choice, e *Endpoint) {
	s := g.sticky
	if s == nil || w.stuck == e && !w.renew {
		return
	}
	var buf [512]byte
	value := s.signer.Append(buf[:0], s.signer.ID(e.addr), time.Now(), x.Conn != nil && x.Conn.Secure)
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
	sets []*set // it was made of
	byID map[uint64]*Endpoint
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
func (s *stickiness) endpoint(g *Group, id uint64) *Endpoint {
	r := s.roster.Load()
	if r == nil || !r.fresh(g) {
		s.mu.Lock()
		if r = s.roster.Load(); r == nil || !r.fresh(g) {
			r = s.list(g)
			s.roster.Store(r)
		}
		s.mu.Unlock()
	}
	return r.byID[id]
}

// each calls yield with the clusters of a group in turn, until it returns false.
func (g *Group) each(yield func(i int, c *Cluster) bool) {
	for i := range g.members {
		if !yield(i, g.members[i].cluster) {
			return
		}
	}
	for i := range g.asked {
		if !yield(len(g.members)+i, g.asked[i].cluster) {
			return
		}
	}
}

func (r *roster) fresh(g *Group) bool {
	fresh := true
	g.each(func(i int, c *Cluster) bool {
		fresh = c.set.Load() == r.sets[i]
		return fresh
	})
	return fresh
}

func (s *stickiness) list(g *Group) *roster {
	r := &roster{byID: map[uint64]*Endpoint{}}
	g.each(func(_ int, c *Cluster) bool {
		set := c.set.Load()
		r.sets = append(r.sets, set)
		for _, list := range [...][]*Endpoint{set.choices, set.others} {
			for _, e := range list {
				if id := s.signer.ID(e.addr); r.byID[id] == nil {
					r.byID[id] = e
				}
			}
		}
		return true
	})
	return r
}

func sameBalance(a, b snapshot.Balance) bool {
	if (a.Sticky == nil) != (b.Sticky == nil) || a.HashOn != b.HashOn || a.HashName != b.HashName {
		return false
	}
	return a.Sticky == nil || a.Sticky.Cookie == b.Sticky.Cookie && a.Sticky.TTL == b.Sticky.TTL &&
		subtle.ConstantTimeCompare(a.Sticky.Key, b.Sticky.Key) == 1
}

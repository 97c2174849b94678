package proxy

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// occupancies finds the counts of the services that have a limit: the same ones for the same name as before. The caller is
// the one writer of p.live.
func (p *Proxy) occupancies(services []*snapshot.Service) map[*snapshot.Service]*exchange.Occupancy {
	by := map[*snapshot.Service]*exchange.Occupancy{}
	live := map[string]*exchange.Occupancy{}
	for _, s := range services {
		if s.MaxRequests == 0 && s.MaxConnections == 0 {
			continue
		}
		name := s.Namespace + "/" + s.Name
		o := live[name]
		if o == nil {
			if o = p.live[name]; o == nil {
				o = new(exchange.Occupancy)
			}
			live[name] = o
		}
		by[s] = o
	}
	p.live = live
	return by
}

// A stay is what a request that is being served is counted in.
type stay struct{ all, service *atomic.Int64 }

// admit counts a request, if no limit is reached. Otherwise it returns the reason.
func (p *Proxy) admit(x *exchange.Exchange, c *Configuration, s *snapshot.Service) (in stay, refused exchange.Reason) {
	if s.MaxConnections > 0 && x.Conn.Seat != nil && !x.Conn.Seat.Take(c.occupied[s], int64(s.MaxConnections)) {
		return in, exchange.Overload
	}
	if c.MaxRequests > 0 {
		if !begin(&p.running, c.MaxRequests) {
			return in, exchange.TooManyRequests
		}
		in.all = &p.running
	}
	if s.MaxRequests > 0 {
		o := c.occupied[s]
		if !begin(&o.Requests, s.MaxRequests) {
			in.end()
			return in, exchange.TooManyRequests
		}
		in.service = &o.Requests
	}
	return in, ""
}

func begin(n *atomic.Int64, most int) bool {
	if n.Add(1) > int64(most) {
		n.Add(-1)
		return false
	}
	return true
}

// end says that the request is over, or has become a tunnel. It may be called again.
func (in *stay) end() {
	if in.all != nil {
		in.all.Add(-1)
		in.all = nil
	}
	if in.service != nil {
		in.service.Add(-1)
		in.service = nil
	}
}

// turnAway answers a request that cannot be served now, and says after how long it is worth while to ask again.
func turnAway(x *exchange.Exchange, reason exchange.Reason, after time.Duration) {
	x.Answer(503, reason)
	seconds := max(1, (after+time.Second-1)/time.Second)
	x.Response.Header.AddBytes([]byte("Retry-After"), strconv.AppendInt(x.Scratch(20)[:0], int64(seconds), 10))
}

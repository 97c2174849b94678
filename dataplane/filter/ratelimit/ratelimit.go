package ratelimit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"math"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// counts are what a limit knows of its clients. They outlive a change of the limit's numbers.
type counts struct {
	seed  maphash.Seed
	all   atomic.Int64 // By Service: when the allowance is whole again
	table *table
}

func newCounts() *counts { return &counts{seed: maphash.MakeSeed(), table: newTable()} }

type limit struct {
	filter.Nop
	by       By
	field    string
	id       exchange.ID // of the header field
	requests int
	burst    int
	period   time.Duration
	observe  bool
	counts   *counts

	name               string
	namespace, service string
	mode               string
	policy             string // the RateLimit-Policy field
	prefix             string // of what the store counts

	metrics  filter.Metrics
	replicas func() int
	shared   filter.Shared // nil unless the limit is shared
	divided  bool
}

func newLimit(c Config, env filter.Env, counted *counts) *limit {
	f := &limit{
		by: c.By, field: c.Field, requests: c.Requests, burst: c.Burst, period: c.Period, observe: c.Observe, counts: counted,
		name: c.Name, namespace: c.Namespace, service: c.Service, mode: "Enforce", metrics: env.Metrics, replicas: env.Replicas,
		policy: `"` + c.Name + `";q=` + strconv.Itoa(c.Requests) + `;w=` + strconv.Itoa(int(c.Period/time.Second)),
		prefix: "pingora-proxy:limit:" + c.Owner + ":" + c.Name + ":",
	}
	if c.By == Header {
		f.id = exchange.Lookup(c.Field)
	}
	if c.Observe {
		f.mode = "Observe"
	}
	if c.Shared {
		f.shared, f.divided = env.Shared, true
	}
	return f
}

// Request implements filter.Filter.
func (f *limit) Request(x *exchange.Exchange) filter.Verdict {
	var allowed bool
	var remaining int
	var next time.Duration
	counted := false
	if f.shared != nil {
		allowed, remaining, next, counted = f.ask(x)
	}
	if !counted {
		allowed, remaining, next = f.count(x, int64(exchange.Now()))
	}
	if !f.observe {
		x.Quotas = append(x.Quotas, exchange.Quota{Limit: f, Remaining: remaining, Next: next})
	}
	if allowed {
		return filter.Continue
	}
	x.Record.RateLimited = f.name
	if f.metrics != nil {
		f.metrics.RateLimited(f.namespace, f.service, f.name, f.mode)
	}
	if f.observe {
		return filter.Continue
	}
	x.Answer(429, exchange.RateLimited)
	var room [20]byte
	x.Response.Header.AddID(exchange.RetryAfter, strconv.AppendInt(room[:0], seconds(next), 10))
	return filter.Respond
}

// count asks this process.
func (f *limit) count(x *exchange.Exchange, now int64) (allowed bool, remaining int, next time.Duration) {
	interval, tolerance := f.pace()
	var spare int64
	if f.by == Service {
		for done := false; !done; {
			at := f.counts.all.Load()
			var then int64
			then, allowed, spare = gcra(at, now, interval, tolerance)
			done = !allowed || f.counts.all.CompareAndSwap(at, then)
		}
	} else {
		allowed, spare = f.counts.table.take(f.hash(x), now, interval, tolerance)
	}
	if !allowed {
		return false, 0, time.Duration(-spare)
	}
	return true, int(spare / interval), time.Duration(interval - spare%interval)
}

// maxTolerance keeps sums of times within 64 bits: 73 years.
const maxTolerance = math.MaxInt64 / 4

// pace is the interval between requests and how far in front of it they may be, in nanoseconds: of the limit, or of this
// replica's share of it.
func (f *limit) pace() (interval, tolerance int64) {
	requests, burst := f.requests, f.burst
	if f.divided && f.replicas != nil {
		if n := f.replicas(); n > 1 {
			requests, burst = max(1, requests/n), max(1, burst/n)
		}
	}
	interval = max(1, int64(f.period)/int64(requests))
	if int64(burst) > maxTolerance/interval {
		return interval, maxTolerance
	}
	return interval, interval * int64(burst)
}

// ask asks the store. counted is false where it has no answer.
func (f *limit) ask(x *exchange.Exchange) (allowed bool, remaining int, next time.Duration, counted bool) {
	x.Leave()
	interval := max(1, f.period/time.Duration(f.requests))
	allowed, remaining, retry, reset, err := f.shared.Take(context.Background(), f.key(x), f.burst, interval)
	switch {
	case err == nil && allowed:
		// reset is when the allowance is whole again; one more request may come as soon as the last interval has passed.
		return true, remaining, reset - time.Duration(f.burst-remaining-1)*interval, true
	case err == nil:
		return false, 0, retry, true
	case f.metrics != nil && !errors.Is(err, filter.ErrNoStore):
		f.metrics.SharedLimitError()
	}
	return false, 0, 0, false
}

// Response implements filter.Filter.
func (f *limit) Response(x *exchange.Exchange) {
	for i := range x.Quotas {
		q := &x.Quotas[i]
		if q.Limit != any(f) {
			continue
		}
		h := &x.Response.Header
		h.Add("RateLimit-Policy", f.policy)
		b := x.Scratch(len(f.name) + 48)[:0]
		b = append(append(append(b, '"'), f.name...), `";r=`...)
		b = strconv.AppendInt(b, int64(q.Remaining), 10)
		b = strconv.AppendInt(append(b, ";t="...), seconds(q.Next), 10)
		h.AddBytes(rateLimit, b)
		return
	}
}

var rateLimit = []byte("RateLimit")

// seconds rounds up: who waits for that long has waited for long enough.
func seconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }

// hash is of what the request is counted for.
func (f *limit) hash(x *exchange.Exchange) uint64 {
	var room addressRoom
	subject, address := f.subject(x, &room)
	sum := maphash.Bytes(f.counts.seed, subject)
	if address {
		sum = sum*0x9e3779b97f4a7c15 + 1 // else a client could send another's address as its value
	}
	return sum
}

// key is what the store counts the request for: the same in every replica, and no value of a client's in the clear.
func (f *limit) key(x *exchange.Exchange) string {
	if f.by == Service {
		return f.prefix
	}
	var room addressRoom
	subject, address := f.subject(x, &room)
	b := append(x.Scratch(1 + len(subject))[:0], 'v')
	if address {
		b[0] = 'a'
	}
	sum := sha256.Sum256(append(b, subject...))
	return f.prefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// subject is what the request is counted for: the value of the field, cookie or claim, else its client's address.
func (f *limit) subject(x *exchange.Exchange, room *addressRoom) (subject []byte, address bool) {
	var value []byte
	switch f.by {
	case Header:
		value = f.values(x)
	case Cookie:
		value = cookie(&x.Request.Header, f.field)
	case JWTClaim:
		if claims := x.Identity.Claims; claims != nil {
			if text, ok := claims.Text(f.field); ok {
				value = append(x.Scratch(len(text))[:0], text...)
			}
		}
	}
	if len(value) > 0 {
		return value, false
	}
	return client(x.ClientIP.Unmap(), room), true
}

// values is the value of the header field; of several lines all together, because an endpoint may read any of them.
func (f *limit) values(x *exchange.Exchange) []byte {
	h := &x.Request.Header
	var all []byte
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || len(value) == 0 || id != f.id || id == exchange.Other && !exchange.EqualFold(name, f.field) {
			continue
		}
		if all == nil {
			all = value
			continue
		}
		joined := append(x.Scratch(len(all) + 1 + len(value))[:0], all...)
		all = append(append(joined, 0), value...) // no value has that byte
	}
	return all
}

type addressRoom [16]byte

// client is who an address stands for: an IPv6 network of /64 is one client, because each has as many addresses as it likes.
func client(ip netip.Addr, room *addressRoom) []byte {
	*room = ip.As16()
	if ip.Is4() {
		return room[12:]
	}
	return room[:8]
}

// cookie returns the value of the first cookie of that name (RFC 6265 §5.4), or nil.
func cookie(h *exchange.Header, name string) []byte {
	for i := h.Next(exchange.Cookie, 0); i >= 0; i = h.Next(exchange.Cookie, i+1) {
		_, _, rest, _ := h.At(i)
		for len(rest) > 0 {
			pair := rest
			if end := bytes.IndexByte(rest, ';'); end >= 0 {
				pair, rest = rest[:end], rest[end+1:]
			} else {
				rest = nil
			}
			for len(pair) > 0 && (pair[0] == ' ' || pair[0] == '\t') {
				pair = pair[1:]
			}
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
				return pair[len(name)+1:]
			}
		}
	}
	return nil
}

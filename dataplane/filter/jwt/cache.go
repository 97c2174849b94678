package jwt

import (
	"crypto/sha256"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A digest stands for a token: who reads our memory finds none that could be used.
type digest = [sha256.Size]byte

const (
	shards   = 16
	maxKnown = 10240 / shards    // tokens of one shard
	maxSize  = 32 << 20 / shards // bytes of one shard, as far as they can be estimated
)

// An outcome is what was found out of a token whose signature is good.
type outcome struct {
	provider *provider
	key      *key
	expires  int64 // Unix time from which the token is to be looked at anew
	identity exchange.Identity
	fields   []string // of the provider's Headers, in their order; empty: not to be set
	lacks    string   // the claim that is asked for and is not there; empty: the request passes
	size     int

	of         digest
	prev, next *outcome
}

// A cache keeps outcomes; the one that was not asked for the longest goes first.
type cache struct{ shards [shards]shard }

type shard struct {
	mu    sync.Mutex
	known map[digest]*outcome
	size  int
	ends  outcome // ends.next was asked for last, ends.prev the longest ago
}

func newCache() *cache {
	c := &cache{}
	for i := range c.shards {
		s := &c.shards[i]
		s.known = map[digest]*outcome{}
		s.ends.next, s.ends.prev = &s.ends, &s.ends
	}
	return c
}

func (c *cache) of(d *digest) *shard { return &c.shards[d[0]%shards] }

// get returns what is known of a token, or nil.
func (c *cache) get(d *digest) *outcome {
	s := c.of(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.known[*d]
	if o != nil && s.ends.next != o {
		o.unlink()
		s.link(o)
	}
	return o
}

// put keeps an outcome under o.of.
func (c *cache) put(o *outcome) {
	s := c.of(&o.of)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.known[o.of]; old != nil {
		s.remove(old)
	}
	s.known[o.of] = o
	s.size += o.size
	s.link(o)
	for len(s.known) > maxKnown || s.size > maxSize {
		s.remove(s.ends.prev)
	}
}

// drop forgets an outcome that is no longer true, unless another one has taken its place.
func (c *cache) drop(o *outcome) {
	s := c.of(&o.of)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[o.of] == o {
		s.remove(o)
	}
}

func (s *shard) link(o *outcome) {
	o.prev, o.next = &s.ends, s.ends.next
	o.prev.next, o.next.prev = o, o
}

func (s *shard) remove(o *outcome) {
	delete(s.known, o.of)
	s.size -= o.size
	o.unlink()
}

func (o *outcome) unlink() {
	o.prev.next, o.next.prev = o.next, o.prev
	o.prev, o.next = nil, nil
}

package translate

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// minStickyKey is how many bytes a key that cookies are signed with has at least.
const minStickyKey = 16

func algorithm(b *v1alpha1.LoadBalancing) snapshot.Algorithm {
	switch deref(b.Algorithm) {
	case v1alpha1.AlgorithmLeastRequest:
		return snapshot.LeastRequest
	case v1alpha1.AlgorithmRandom:
		return snapshot.Random
	case v1alpha1.AlgorithmConsistentHash:
		return snapshot.ConsistentHash
	}
	return snapshot.RoundRobin
}

// sameBalancing reports whether clusters are balanced alike. What requests say about their endpoints is not the cluster's.
func sameBalancing(a, b *v1alpha1.LoadBalancing) bool {
	return algorithm(a) == algorithm(b) && deref(a.SlowStartSecs) == deref(b.SlowStartSecs) && deref(a.ZoneAware) == deref(b.ZoneAware)
}

// choice gives a route what its requests say about the endpoint that they go to. field is where b stands. Without the key
// that it names the route answers 503: clients would lose their endpoints without a word.
func (t *translation) choice(r *snapshot.Route, service int, in *Service, b *v1alpha1.LoadBalancing, field string) {
	if algorithm(b) == snapshot.ConsistentHash {
		r.Balance.HashOn, r.Balance.HashName = hashOn(b.HashOn)
	}
	if b.Sticky == nil {
		return
	}
	key, err := stickyKey(in, b.Sticky, field+".sticky.keyRef")
	if err != nil {
		if r.Invalid == "" {
			r.Invalid = err.Error()
		}
		p := Problem{Service: service, Field: field + ".sticky.keyRef", Reason: ReasonInvalid, Message: err.Error()}
		if field != serviceBalancing {
			p.Route = r.Name
		}
		t.problem(p)
		return
	}
	r.Balance.Sticky = &snapshot.Sticky{Cookie: deref(b.Sticky.CookieName), TTL: secs(b.Sticky.TTLSecs), Key: key}
}

// serviceBalancing is the field of a service's own settings.
const serviceBalancing = "loadBalancing"

func hashOn(h *v1alpha1.HashOn) (snapshot.HashOn, string) {
	if h == nil {
		return snapshot.HashClientIP, ""
	}
	switch deref(h.Type) {
	case v1alpha1.HashHeader:
		return snapshot.HashHeader, deref(h.Name)
	case v1alpha1.HashCookie:
		return snapshot.HashCookie, deref(h.Name)
	case v1alpha1.HashPath:
		return snapshot.HashPath, ""
	}
	return snapshot.HashClientIP, ""
}

// stickyKey is the key that cookies are signed with: the one that is configured, else one made of the installation's seed.
// Without either it is nil, and the data plane has one of its own.
func stickyKey(in *Service, s *v1alpha1.Sticky, field string) (snapshot.Secret, error) {
	if s.KeyRef == nil {
		if len(in.Seed) == 0 {
			return nil, nil
		}
		return hkdf.Key(sha256.New, in.Seed, nil, "sticky cookies of "+in.Owner(), sha256.Size)
	}
	key, err := in.content(field)
	if err != nil {
		return nil, err
	}
	key = bytes.TrimRight(key, "\r\n")
	if len(key) < minStickyKey {
		return nil, errors.New("the key has fewer than 16 bytes")
	}
	return key, nil
}

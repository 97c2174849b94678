package translate

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// minStickyKey is how many bytes a key that cookies are signed with has at least.
const minStickyKey = 16

// choice gives a route what its requests say about the endpoint that they go to. field is where b stands. Without the key
// that it names the route answers 503: clients would lose their endpoints without a word.
func (t *translation) choice(r *snapshot.Route, service int, in *Service, b *v1alpha1.LoadBalancing, field string) {
	if parts.Algorithm(b) == snapshot.ConsistentHash {
		r.Balance.HashOn, r.Balance.HashName = parts.HashOn(b.HashOn)
	}
	if b.Sticky == nil {
		return
	}
	key, err := stickyKey(in, b.Sticky, field+".sticky.keyRef")
	if err != nil {
		if r.Invalid == "" {
			r.Invalid = err.Error()
		}
		p := Problem{Service: service, Field: field + ".sticky.keyRef", Reason: v1alpha1.ReasonInvalid, Message: err.Error()}
		if field != serviceBalancing {
			p.Route = r.Name
		}
		p.because(err)
		t.problem(p)
		return
	}
	r.Balance.Sticky = &snapshot.Sticky{Cookie: optional.Value(b.Sticky.CookieName), TTL: parts.Secs(b.Sticky.TTLSecs), Key: key}
}

// serviceBalancing is the field of a service's own settings.
const serviceBalancing = "loadBalancing"

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

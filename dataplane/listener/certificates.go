package listener

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Certificates are those that listeners use, each parsed once for as long as configurations name it. They have one
// caller at a time.
type Certificates struct {
	used map[digest]*Certificate // of the configuration that serves
	next map[digest]*Certificate // of the one that is being applied
}

type digest [sha256.Size]byte

// A Certificate is a chain with its key, or why there is none.
type Certificate struct {
	Name   string
	digest digest
	pair   tls.Certificate
	err    error
}

// Get returns the certificate with that content.
func (cs *Certificates) Get(s snapshot.Certificate) *Certificate {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %d %s\n", len(s.Name), len(s.Chain), s.Name) // a hash takes everything
	h.Write(s.Chain)
	h.Write(s.Key)
	key := digest(h.Sum(nil))
	c := cs.next[key]
	if c == nil {
		c = cs.used[key]
	}
	if c == nil {
		c = &Certificate{Name: s.Name, digest: key}
		if len(s.Chain) == 0 {
			c.err = fmt.Errorf("the certificate %s could not be had", s.Name)
		} else if c.pair, c.err = tls.X509KeyPair(s.Chain, s.Key); c.err != nil {
			c.err = fmt.Errorf("the certificate %s is bad: %w", s.Name, c.err)
		}
	}
	if cs.next == nil {
		cs.next = map[digest]*Certificate{}
	}
	cs.next[key] = c
	return c
}

// Settle forgets the certificates that nobody has asked for since it was called last.
func (cs *Certificates) Settle() { cs.used, cs.next = cs.next, nil }

// NotAfter is when a usable certificate ends.
func (c *Certificate) NotAfter() time.Time { return c.pair.Leaf.NotAfter }

// A Policy is how the connections of a service are secured.
type Policy struct {
	minVersion uint16
	usable     []*Certificate
	broken     error  // of those that are not usable, the first one's
	digest     digest // of all that decides whether a session may be taken up again
	clients    clientAuth
}

// NewPolicy makes the policy of a service.
func NewPolicy(s *snapshot.TLS, certificates *Certificates) *Policy {
	p := &Policy{minVersion: s.MinVersion, broken: errors.New("the service has no certificate"), clients: newClientAuth(s.ClientAuth)}
	if len(s.Certificates) > 0 {
		p.broken = nil
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %x\n", s.MinVersion, p.clients.digest)
	for _, one := range s.Certificates {
		c := certificates.Get(one)
		h.Write(c.digest[:])
		switch {
		case c.err == nil:
			p.usable = append(p.usable, c)
		case p.broken == nil:
			p.broken = c.err
		}
	}
	p.digest = digest(h.Sum(nil))
	return p
}

// Usable returns the certificates that can be shown.
func (p *Policy) Usable() []*Certificate { return p.usable }

// ClientAuth is the snapshot.ClientAuth.Digest of what clients are asked for.
func (p *Policy) ClientAuth() string { return p.clients.digest }

// Invalid says why clients' certificates cannot be verified; nil: they can, or nobody is asked for one.
func (p *Policy) Invalid() error { return p.clients.invalid }

// Authorities are what clients' certificates are verified with.
func (p *Policy) Authorities() []*x509.Certificate { return p.clients.authorities }

// certificate chooses the certificate for a client: one that has the name that it asks for, and that it can verify. Where
// none has the name the name may be that of one that is broken; where none is broken the first does that the client can
// verify.
func (p *Policy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for _, c := range p.usable {
		if hello.SupportsCertificate(&c.pair) == nil {
			return &c.pair, nil
		}
	}
	if p.broken != nil {
		return nil, fmt.Errorf("for the name %q: %w", hello.ServerName, p.broken)
	}
	nameless := *hello
	nameless.ServerName = ""
	for _, c := range p.usable {
		if nameless.SupportsCertificate(&c.pair) == nil {
			return &c.pair, nil
		}
	}
	return &p.usable[0].pair, nil // the handshake fails, and says of what
}

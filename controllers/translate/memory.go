package translate

import (
	"bytes"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Memory knows what became of sealed services in the translation before. One that has not changed, and whose surroundings
// have not, becomes the same again: the parts of the snapshot that are its own are those of the snapshot before, so that
// who compares snapshots need not look into them. Its zero value knows nothing. It belongs to one goroutine.
type Memory struct {
	pieces []*piece          // in the order of the services; nil: of one that left none
	owned  map[string]*piece // by owner, made when somebody has another place than before
	world  *realm.World      // that they were made in
	reused int

	granted bool // the grants of the next one are the same
}

// Reused is how many services the last translation has taken from the one before.
func (m *Memory) Reused() int { return m.reused }

// Translate is the function of that name; what it returns is the same.
func (m *Memory) Translate(in Input) (*snapshot.Snapshot, []Problem) {
	if m.world != nil && in.World != nil && !reflect.DeepEqual(m.world.Policy, in.World.Policy) || (m.world == nil) != (in.World == nil) {
		m.pieces = nil
	}
	old := *m
	old.granted = old.world != nil && in.World != nil && reflect.DeepEqual(old.world.Grants, in.World.Grants)
	m.pieces, m.owned, m.world, m.reused = make([]*piece, len(in.Services)), nil, in.World, 0
	return translate(in, m, &old)
}

// pieceOf is what a service was before, or nil. Mostly it has the same place i as then.
func (m *Memory) pieceOf(i int, in *Service) *piece {
	if i < len(m.pieces) && m.pieces[i] != nil && (m.pieces[i].of.seal == in.seal || m.pieces[i].owner == in.Owner()) {
		return m.pieces[i]
	}
	if m.owned == nil {
		m.owned = make(map[string]*piece, len(m.pieces))
		for _, p := range m.pieces {
			if p != nil {
				m.owned[p.owner] = p
			}
		}
	}
	return m.owned[in.Owner()]
}

// A piece is what one service became: a part of the snapshot that nothing but the service has a say in.
type piece struct {
	owner    string
	of       identity
	address  netip.AddrPort
	redirect netip.AddrPort
	own      share // at address
	plain    share // at redirect
	clusters []*snapshot.Cluster
	taken    []*claims.Claim
	asked    []asked
}

// An identity is what tells a service from what it was.
type identity struct {
	seal                *seal
	seed                []byte
	certificates        []material.Certificate
	upstreamCertificate material.Certificate
	contents            map[string]material.Content
}

func identityOf(in *Service) identity {
	return identity{in.seal, in.Seed, in.Certificates, in.UpstreamCertificate, in.Contents}
}

// A share is what a service adds to one listener.
type share struct {
	services []*snapshot.Service
	streams  []*snapshot.Stream
	routes   []*snapshot.Route
}

// An asked is what the world said about a backend that is more than an address.
type asked struct {
	backend *v1alpha1.Backend
	to      realm.Destination
}

// resolve says what a backend means.
func (t *translation) resolve(in *Service, b *v1alpha1.Backend) (d realm.Destination, reason, message string) {
	d, reason, message = t.world.Resolve(in.Namespace, b)
	if t.world != nil && !d.Plain.IsValid() {
		t.asked = append(t.asked, asked{b, d})
	}
	return d, reason, message
}

// A mark is how far a listener was built.
type mark struct{ services, streams, routes int }

func (t *translation) mark(a netip.AddrPort) mark {
	l := t.listeners[a]
	if l == nil {
		return mark{}
	}
	return mark{len(l.Services), len(l.Streams), len(l.Routes)}
}

// since is what was added behind a mark.
func (t *translation) since(m mark, a netip.AddrPort) share {
	l := t.listeners[a]
	if l == nil {
		return share{}
	}
	return share{slices.Clone(l.Services[m.services:]), slices.Clone(l.Streams[m.streams:]), slices.Clone(l.Routes[m.routes:])}
}

func (s *share) join(l *snapshot.Listener) {
	l.Services = append(l.Services, s.services...)
	l.Streams = append(l.Streams, s.streams...)
	l.Routes = append(l.Routes, s.routes...)
}

// build makes a service's part of the snapshot, or takes the one that it had.
func (t *translation) build(i int, in *Service) {
	if t.refused[i] {
		return
	}
	sealed := t.memory != nil && in.seal != nil && len(in.Faults) == 0
	if !sealed {
		t.service(i, in)
		return
	}
	bound := in.bound()
	if bound.err != nil {
		t.service(i, in)
		return
	}
	if p := t.before.pieceOf(i, in); p != nil && t.recall(i, in, p) {
		return
	}
	p := &piece{owner: in.Owner(), of: identityOf(in), address: bound.address, redirect: t.redirects[i]}
	own, plain := t.mark(p.address), t.mark(p.redirect)
	clusters, problems := len(t.out.Clusters), len(t.problems)
	t.asked, t.requests.Entered = nil, nil
	t.service(i, in)
	if len(t.problems) > problems {
		return // others have a say in it
	}
	p.own = t.since(own, p.address)
	if p.redirect.IsValid() {
		p.plain = t.since(plain, p.redirect)
	}
	p.clusters, p.taken, p.asked = slices.Clone(t.out.Clusters[clusters:]), t.requests.Entered, t.asked
	t.memory.pieces[i] = p
}

// recall takes the piece that a service was before, if nothing that it was made of has changed.
func (t *translation) recall(i int, in *Service, p *piece) bool {
	if !p.of.same(identityOf(in)) || t.redirects[i] != p.redirect || !t.sameWorld(in, p) || !t.requests.Retake(p.taken, i) {
		return false
	}
	next := p
	for j, c := range p.clusters { // endpoints come and go without the service
		if c.Origin == nil {
			continue
		}
		now := t.world.Endpoints[realm.OriginKey(*c.Origin)]
		if slices.Equal(c.Endpoints, now) {
			continue
		}
		if next == p {
			again := *p
			again.clusters = slices.Clone(p.clusters)
			next = &again
		}
		moved := *c
		moved.Endpoints = now
		next.clusters[j] = &moved
	}
	next.of = identityOf(in) // what it shares with the input is kept once
	front := in.bound().front
	next.own.join(t.listener(i, in, next.address, front))
	if next.redirect.IsValid() {
		next.plain.join(t.listener(i, in, next.redirect, front.plain()))
	}
	t.out.Clusters = append(t.out.Clusters, next.clusters...)
	t.memory.pieces[i] = next
	t.memory.reused++
	return true
}

// same says whether a service and everything that it names is what it was.
func (a *identity) same(b identity) bool {
	return a.seal == b.seal && bytes.Equal(a.seed, b.seed) &&
		slices.EqualFunc(a.certificates, b.certificates, material.Certificate.Equal) && a.upstreamCertificate.Equal(b.upstreamCertificate) &&
		maps.EqualFunc(a.contents, b.contents, material.Content.Equal)
}

// sameWorld says whether everything that a service asks of the world has the same answer.
func (t *translation) sameWorld(in *Service, p *piece) bool {
	if t.world == nil {
		return true
	}
	// What is read in other namespaces depends on their grants.
	if (len(in.Certificates)+len(in.Contents) > 0 || in.Spec.UpstreamTLS != nil) && !t.before.granted {
		return false
	}
	for _, a := range p.asked {
		to, reason, _ := t.world.Resolve(in.Namespace, a.backend)
		if reason != "" || !to.Equal(a.to) {
			return false
		}
	}
	return true
}

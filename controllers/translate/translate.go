package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"runtime"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Input is everything that is configured. SetDefaults has run on all of it, and Validate has found nothing but what
// stands among the faults of a service.
type Input struct {
	Globals  settings.Globals
	Contents map[string]material.Content // what the references of the globals name, by the paths of their fields
	Services []*Service                  // the oldest first: it wins where two of them want the same; they are only read
	World    *realm.World                // nil: a file, where everything is allowed and no Service is known
}

// A Service is one entry of the file or one object.
type Service struct {
	Namespace, Name string
	Spec            v1alpha1.ProxyServiceSpec
	Certificates    []material.Certificate // as spec.tlsConfig.certificates lists them
	// UpstreamCertificate is that of spec.upstreamTLS.certificate.
	UpstreamCertificate material.Certificate
	// Contents are what the references of the spec name, by the paths of their fields below spec: "auth.jwt[0].jwksRef".
	Contents map[string]material.Content
	// Seed is known to this installation's replicas alone, and the same in all of them: what keys are made of that nobody
	// has configured.
	Seed   []byte
	Faults field.ErrorList `json:"-"` // below "spec"; only an object of a cluster gets here with any

	seal *seal // of one that is sealed
}

// A seal is what is known of a service that will not change any more. No two have the same.
type seal struct {
	digest [sha256.Size]byte
	bound  bound
}

// A bound is where a service listens, and what is spoken there.
type bound struct {
	address netip.AddrPort
	err     error
	front   front
}

// bound reads the service's address.
func (s *Service) bound() bound {
	if s.seal != nil {
		return s.seal.bound
	}
	a, err := syntax.ParseBindAddress(s.Spec.BindAddress)
	return bound{a, err, frontOf(s)}
}

// Owner names the service in IDs: namespace/name, or the name alone in a file.
func (s *Service) Owner() string {
	if s.Namespace == "" {
		return s.Name
	}
	return s.Namespace + "/" + s.Name
}

// DefaultRoute is the name of the route that takes what no other route of a service takes.
const DefaultRoute = "default"

// Translate makes a snapshot of the input. What cannot be built is left out or answers 503, and is a Problem; the rest
// is served.
func Translate(in Input) (*snapshot.Snapshot, []Problem) { return translate(in, nil, nil) }

func translate(in Input, memory, before *Memory) (*snapshot.Snapshot, []Problem) {
	t := &translation{
		memory: memory, before: before,
		out: &snapshot.Snapshot{
			Hash: hash(in), Limits: parts.Limits(in.Globals.Limits), AccessLog: parts.AccessLog(in.Globals.AccessLog),
			Tracing: parts.Tracing(in.Globals.Tracing, in.Contents["tracing.caRef"].Data),
			Store:   parts.Store(in.Globals.RateLimitStore, in.Contents["rateLimitStore.caRef"].Data, in.Contents["rateLimitStore.passwordRef"].Data),
		},
		listeners: map[netip.AddrPort]*snapshot.Listener{},
		holding:   map[uint16][]int{},
		clusters:  make(map[string]bool, len(in.Services)),
		secured:   map[int]*snapshot.UpstreamTLS{},
		reported:  map[Problem]bool{},
		world:     in.World,
	}
	t.faults = make([]faults, len(in.Services))
	for i, s := range in.Services {
		t.faults[i] = t.sort(i, s)
	}
	t.claims(in)
	for i, s := range in.Services {
		t.build(i, s)
		if i%32 == 31 {
			runtime.Gosched() // thousands take longer than requests like to wait for a processor
		}
	}
	for _, l := range t.out.Listeners { // of equal ones the first is taken
		if !t.requests.Yielding() {
			break
		}
		slices.SortStableFunc(l.Routes, func(a, b *snapshot.Route) int { return t.yielding(a) - t.yielding(b) })
	}
	return t.out, t.problems
}

type translation struct {
	out       *snapshot.Snapshot
	world     *realm.World
	memory    *Memory // what this translation leaves; nil: nothing
	before    *Memory // and what the one before has left
	asked     []asked // of the world, for the service that is being built
	problems  []Problem
	reported  map[Problem]bool
	faults    []faults               // by service
	refused   map[int]bool           // services that got no address
	holders   []holder               // of addresses
	holding   map[uint16][]int       // in holders, by port
	redirects map[int]netip.AddrPort // where services redirect plain HTTP from
	listeners map[netip.AddrPort]*snapshot.Listener
	requests  *claims.Requests
	clusters  map[string]bool               // by ID
	secured   map[int]*snapshot.UpstreamTLS // by service
}

func (t *translation) yielding(r *snapshot.Route) int {
	if t.requests.Yields(r) {
		return 1
	}
	return 0
}

func (t *translation) service(index int, in *Service) {
	f := &t.faults[index]
	forwards := len(in.Spec.Upstreams)+len(in.Spec.Backends) > 0
	if f.whole != "" {
		in = sound(in)
	}
	bound := in.bound()
	if bound.err != nil {
		t.problem(Problem{Service: index, Field: "bindAddress", Reason: v1alpha1.ReasonInvalid, Message: bound.err.Error()})
		return
	}
	address := bound.address
	l := t.listener(index, in, address, bound.front)
	if isTCP(in) {
		t.stream(index, in, l, f.whole)
		return
	}
	service := &snapshot.Service{
		Namespace:   in.Namespace,
		Name:        in.Name,
		Hosts:       parts.Lower(in.Spec.Hosts),
		IdleTimeout: parts.Secs(in.Spec.Timeouts.IdleSecs),
		TLS:         t.tls(index, in),

		TrustedProxies: t.trusted(index, in),
	}
	if p := *in.Spec.HealthPath; p != v1alpha1.Off {
		service.HealthPath = p
	}
	if s := in.Spec.Sanitize; s != nil {
		service.Underscores = optional.Value(s.AllowUnderscores)
		service.KeepSlashes = s.MergeSlashes != nil && !*s.MergeSlashes
		service.KeepHeaders = s.KeepRequestHeaders
	}
	if limits := in.Spec.Limits; limits != nil {
		service.MaxConnections, service.MaxRequests = int(optional.Value(limits.MaxConnections)), int(optional.Value(limits.MaxRequests))
	}
	l.Services = append(l.Services, service)
	for j := range in.Spec.Routes {
		if r := t.route(index, in, service, l.Address, j); r != nil {
			l.Routes = append(l.Routes, r)
		}
	}
	if r := t.defaultRoute(index, in, service, l.Address, forwards); r != nil {
		l.Routes = append(l.Routes, r)
	}
	if at, ok := t.redirects[index]; ok {
		t.toHTTPS(index, in, at, address.Port())
	}
}

// hash tells configurations apart. It covers what was configured, not what follows from it or surrounds it.
func hash(in Input) string {
	h := sha256.New()
	sum := parts.Digest(in.Globals)
	h.Write(sum[:])
	for _, s := range in.Services {
		if s.seal != nil {
			sum = s.seal.digest
		} else {
			sum = s.sum()
		}
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// Seal says that namespace, name, spec and faults of the service will not change any more. One that is translated again and
// again is then read once, and a Memory knows it again: in every copy that is made of it from now on.
func (s *Service) Seal() {
	s.seal = nil
	s.seal = &seal{digest: s.sum(), bound: s.bound()}
}

func (s *Service) sum() [sha256.Size]byte {
	return parts.Digest(struct {
		Namespace, Name string
		Spec            *v1alpha1.ProxyServiceSpec
	}{s.Namespace, s.Name, &s.Spec})
}

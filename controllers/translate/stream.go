package translate

import (
	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/filters"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// stream builds a TCP service. What cannot be built has its connections closed.
func (t *translation) stream(service int, in *Service, l *snapshot.Listener, wrong string) {
	s := &snapshot.Stream{
		Namespace: in.Namespace, Name: in.Name, Hosts: parts.Lower(in.Spec.Hosts), TLS: t.tls(service, in), Passthrough: passes(in), Invalid: wrong,
	}
	mine := claims.Claim{Service: service}
	if len(s.Hosts) > 0 {
		mine.Field = "hosts"
	}
	left, ok := t.free(service, l.Address, s.Hosts, mine)
	if !ok {
		return
	}
	if left != nil {
		s.Hosts = left
	}
	parts.Timeouts(&s.Timeouts, in.Spec.Timeouts)
	if limits := in.Spec.Limits; limits != nil {
		s.MaxConnections = int(optional.Value(limits.MaxConnections))
	}
	l.Streams = append(l.Streams, s)
	if wrong != "" {
		return
	}
	access, err := filters.Access(in.Namespace+"/"+in.Name, in.Spec.Access)
	if err != nil {
		s.Invalid = err.Error()
		t.problem(Problem{Service: service, Field: "access", Reason: v1alpha1.ReasonInvalid, Message: err.Error()})
		return
	}
	s.Access = access
	if b := in.Spec.LoadBalancing; parts.Algorithm(b) == snapshot.ConsistentHash {
		s.Balance.HashOn = snapshot.HashClientIP
	}
	s.Clusters = t.balance(in, ofService(service, in), in.Spec.Upstreams, in.Spec.Backends)
	if len(s.Clusters) == 0 {
		s.Invalid = "no backends" // for which there are problems
	}
}

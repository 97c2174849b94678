package translate

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/filters"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// route builds one route of a service. A match that another route has already is left out; a route without any match of
// its own that is left is nil.
func (t *translation) route(service int, in *Service, s *snapshot.Service, address string, i int) *snapshot.Route {
	spec := &in.Spec.Routes[i]
	at := index("routes", i)
	faults := &t.faults[service]
	wrong := faults.of(i)
	r := t.newRoute(in, s, spec.Name)
	r.Invalid = wrong
	if !faults.at(at + ".hosts") {
		r.Hosts = parts.Lower(spec.Hosts) // else all of the service's
	}
	if wrong == "" {
		parts.Timeouts(&r.Timeouts, spec.Timeouts)
		if spec.Retry != nil {
			r.Retry = parts.Retry(spec.Retry)
		}
	}

	hosts := r.Hosts
	if len(hosts) == 0 {
		hosts = s.Hosts
	}
	matches := make([]snapshot.Match, 0, max(1, len(spec.Matches)))
	for j := range spec.Matches {
		if wrong != "" {
			matches = append(matches, widened(&spec.Matches[j], faults, at+"."+index("matches", j)))
		} else {
			matches = append(matches, parts.Match(&spec.Matches[j]))
		}
	}
	everything := len(matches) == 0
	if everything {
		matches = append(matches, snapshot.Match{})
	}
	for j, m := range matches {
		field := at
		if !everything {
			field += "." + index("matches", j)
		}
		mine := claims.Claim{Service: service, Field: field, Route: spec.Name}
		if faults.at(at+".hosts") || faults.at(at+"."+index("matches", j)) {
			mine.Weak = r
		}
		other, part, all := t.requests.Take(address, hosts, m, mine)
		if part {
			t.problem(Problem{
				Service: service, Route: spec.Name, Field: field, Reason: v1alpha1.ReasonRouteShadowed,
				Message: "takes the same requests as " + t.requests.Name(&other),
				Holder:  other.Service, HolderRoute: other.Route, HolderField: other.Field,
			})
		}
		if !all {
			r.Matches = append(r.Matches, m)
		}
	}
	if len(r.Matches) == 0 {
		return nil
	}
	if wrong != "" {
		return r // it answers 503, and nothing of it is built
	}
	answers := t.filter(r, service, in, spec, at)
	r.Matches = append(r.Matches, filters.Preflights(spec.Filters, r.Matches)...)
	of := ofRoute(service, in, spec, at)
	switch {
	case answers: // no endpoint is ever asked
	case len(spec.Backends) > 0:
		r.Clusters = t.balance(in, of, nil, spec.Backends)
	default:
		r.Clusters = t.balance(in, of, in.Spec.Upstreams, in.Spec.Backends)
	}
	if spec.LoadBalancing != nil {
		t.choice(r, service, in, spec.LoadBalancing, at+"."+serviceBalancing)
	} else {
		t.choice(r, service, in, in.Spec.LoadBalancing, serviceBalancing)
	}
	if len(r.Clusters) == 0 && !answers && r.Invalid == "" {
		r.Invalid = "no backends" // for which there are problems: Validate wants one at least
	}
	return r
}

// defaultRoute takes what no other route of the service takes, if there is anything to forward it to. forwards says whether
// there was, before what is wrong with the service was left out.
func (t *translation) defaultRoute(service int, in *Service, s *snapshot.Service, address string, forwards bool) *snapshot.Route {
	wrong := t.faults[service].whole
	if len(in.Spec.Upstreams) == 0 && len(in.Spec.Backends) == 0 && wrong == "" {
		return nil
	}
	name := DefaultRoute
	for i := range in.Spec.Routes {
		if in.Spec.Routes[i].Name == name {
			name = "_" + DefaultRoute // no user's name begins with an underscore
		}
	}
	mine := claims.Claim{Service: service}
	hosts := s.Hosts
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	r := t.newRoute(in, s, name)
	if !forwards {
		mine.Weak = r
	}
	for _, h := range hosts {
		other, taken, _ := t.requests.Take(address, []string{h}, snapshot.Match{}, mine)
		switch {
		case !taken && h != "*":
			r.Hosts = append(r.Hosts, h)
		case taken && other.Service != service:
			field := "hosts"
			if len(s.Hosts) == 0 {
				field = ""
			}
			t.problem(Problem{
				Service: service, Field: field, Reason: v1alpha1.ReasonRouteShadowed,
				Message: fmt.Sprintf("takes the same requests (host `%s`) on `%s` as %s", h, in.Spec.BindAddress, t.requests.Name(&other)),
				Holder:  other.Service, HolderRoute: other.Route, HolderField: other.Field,
			})
			return nil
		case taken && h == "*":
			return nil // a route of the service takes everything
		}
	}
	if len(s.Hosts) > 0 && len(r.Hosts) == 0 {
		return nil
	}
	if len(r.Hosts) == len(s.Hosts) {
		r.Hosts = nil // the service's
	}
	if r.Invalid = wrong; wrong != "" {
		return r
	}
	t.filter(r, service, in, nil, "")
	r.Clusters = t.balance(in, ofService(service, in), in.Spec.Upstreams, in.Spec.Backends)
	t.choice(r, service, in, in.Spec.LoadBalancing, serviceBalancing)
	if len(r.Clusters) == 0 && r.Invalid == "" {
		r.Invalid = "no backends"
	}
	return r
}

// filter gives a route its filters, and says whether they answer every request. spec is nil for the default route.
func (t *translation) filter(r *snapshot.Route, service int, in *Service, spec *v1alpha1.Route, at string) (answers bool) {
	configs, answers, err := filters.List(filters.Source{
		Snapshot: r, Service: &in.Spec, Route: spec, Field: at,
		Content: in.content,
		URL:     func(text string) (string, error) { return t.mayFetch(in, text) },
		Cluster: func(field string, b *v1alpha1.Backend) (string, error) { return t.aside(in, service, r.Name, field, b) },
	})
	r.Filters = configs
	if err != nil {
		r.Invalid = err.Error()
		p := Problem{Service: service, Field: at, Reason: v1alpha1.ReasonInvalid, Message: err.Error()}
		if spec != nil {
			p.Route, p.Field = spec.Name, at+".filters"
		}
		var fault *filters.Fault
		if errors.As(err, &fault) {
			switch setting, _, _ := strings.Cut(fault.Field, "."); {
			case at != "" && strings.HasPrefix(fault.Field, at+"."):
				p.Field, p.Message = fault.Field, fault.Err.Error()
			case setting == "auth" || setting == "requestSigning": // the service's: one problem for all of its routes
				p.Route, p.Field, p.Message = "", fault.Field, fault.Err.Error()
			}
		}
		if !p.because(err) {
			t.problem(p)
		}
	}
	return answers
}

// content returns what the reference in a field names.
func (s *Service) content(field string) ([]byte, error) {
	c, ok := s.Contents[field]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: nothing was found there", field)
	case c.Problem != "":
		return nil, &refusal{reason: cmp.Or(c.Reason, v1alpha1.ReasonRefNotFound), message: c.Problem}
	}
	return c.Data, nil
}

// mayFetch returns a URL with its host as DNS is to be asked for it, which no search list then leads elsewhere, or says why
// the service may not have it fetched. What it names is held to the same policy as a backend.
func (t *translation) mayFetch(in *Service, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("it is no URL")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	d, reason, message := t.resolve(in, &v1alpha1.Backend{Address: net.JoinHostPort(u.Hostname(), port)})
	if reason != "" {
		return "", &refusal{reason: reason, message: message}
	}
	if explicit := u.Port(); d.DNS != nil {
		if u.Host = d.DNS.Host; explicit != "" {
			u.Host = net.JoinHostPort(d.DNS.Host, explicit)
		}
	}
	return u.String(), nil
}

// aside makes the cluster of a backend that requests are not forwarded to: one that is asked about them, or gets copies.
func (t *translation) aside(in *Service, service int, route, field string, b *v1alpha1.Backend) (string, error) {
	before := len(t.problems)
	list := t.balance(in, aside(service, in, route, field), nil, []v1alpha1.Backend{*b})
	if len(list) == 0 {
		if len(t.problems) > before {
			p := t.problems[before]
			t.problems = t.problems[:before]
			delete(t.reported, p)
			if p.Field = field; strings.HasPrefix(field, "auth.") { // the service's: one problem for all of its routes
				p.Route = ""
			}
			t.problem(p)
			return "", &refusal{reason: p.Reason, message: p.Message, told: true}
		}
		return "", errors.New("the backend cannot be used")
	}
	return list[0].Cluster, nil
}

func (t *translation) newRoute(in *Service, s *snapshot.Service, name string) *snapshot.Route {
	r := &snapshot.Route{Service: s, Name: name}
	parts.Timeouts(&r.Timeouts, in.Spec.Timeouts)
	r.Retry = parts.Retry(in.Spec.Retry)
	return r
}

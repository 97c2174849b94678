package translate_test

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden translates testdata/*.in.yaml and compares with *.out.yaml.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no golden pairs", err)
	}
	for _, in := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			l, problems := standalone.Load(standalone.Options{Path: in})
			if l == nil {
				t.Fatal(&standalone.InvalidError{Problems: problems})
			}
			got, err := yaml.Marshal(view(l.Snapshot))
			if err != nil {
				t.Fatal(err)
			}
			out := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(out, got, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-update writes the file anew if this is right:\n%s", diff)
			}
		})
	}
}

// view is a snapshot for readers: what is zero is left out, a route names its service, and enumerations have words.
func view(s *snapshot.Snapshot) yaml.MapSlice {
	var listeners []yaml.MapSlice
	for _, l := range s.Listeners {
		var services, routes []any
		for _, v := range l.Services {
			services = append(services, plain(reflect.ValueOf(*v)))
		}
		for _, r := range l.Routes {
			routes = append(routes, plain(reflect.ValueOf(*r)))
		}
		out := yaml.MapSlice{{Key: "Address", Value: l.Address}}
		if l.TLS {
			out = append(out, yaml.MapItem{Key: "TLS", Value: true})
		}
		if l.ProxyProtocol != nil {
			out = append(out, yaml.MapItem{Key: "ProxyProtocol", Value: plain(reflect.ValueOf(l.ProxyProtocol))})
		}
		if l.Streams != nil {
			out = append(out, yaml.MapItem{Key: "Streams", Value: plain(reflect.ValueOf(l.Streams))})
		}
		listeners = append(listeners, append(out, yaml.MapItem{Key: "Services", Value: services}, yaml.MapItem{Key: "Routes", Value: routes}))
	}
	return yaml.MapSlice{
		{Key: "Listeners", Value: listeners},
		{Key: "Clusters", Value: plain(reflect.ValueOf(s.Clusters))},
		{Key: "Limits", Value: plain(reflect.ValueOf(s.Limits))},
		{Key: "AccessLog", Value: plain(reflect.ValueOf(s.AccessLog))},
	}
}

func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case *snapshot.Service:
		return x.Name
	case *snapshot.TLS:
		if x == nil {
			return nil
		}
		var names []string // what stands in certificates is nothing to read
		for _, c := range x.Certificates {
			names = append(names, c.Name)
		}
		return yaml.MapSlice{{Key: "MinVersion", Value: tls.VersionName(x.MinVersion)}, {Key: "Certificates", Value: names}}
	case snapshot.PathType:
		return [...]string{"Prefix", "Exact", "Regex"}[x]
	case snapshot.CheckType:
		return [...]string{"TCP", "HTTP", "Disabled", "GRPC"}[x]
	case snapshot.Algorithm:
		return [...]string{"RoundRobin", "LeastRequest", "Random", "ConsistentHash"}[x]
	case fmt.Stringer:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Interface:
		t := v.Elem().Type()
		out, _ := plain(v.Elem()).(yaml.MapSlice)
		return append(yaml.MapSlice{{Key: "Filter", Value: strings.TrimSuffix(t.String(), ".Config")}}, out...)
	case reflect.Pointer:
		return plain(v.Elem())
	case reflect.Slice:
		var out []any
		for i := range v.Len() {
			out = append(out, plain(v.Index(i)))
		}
		return out
	case reflect.Struct:
		var out yaml.MapSlice
		for i := range v.NumField() {
			f, name := v.Field(i), v.Type().Field(i).Name
			// Enumerations are written down even where they are the first.
			if f.IsZero() && name != "PathType" && name != "Type" && name != "Algorithm" {
				continue
			}
			out = append(out, yaml.MapItem{Key: name, Value: plain(f)})
		}
		return out
	}
	return v.Interface()
}

func load(t *testing.T, text string) translate.Input {
	t.Helper()
	l, problems := standalone.LoadBytes("f", []byte(text), standalone.Options{})
	if l == nil {
		t.Fatal(&standalone.InvalidError{Problems: problems})
	}
	return translate.Input{Globals: l.Globals, Services: l.Services}
}

// spec is a service that was not compared with others, as objects of a cluster are not.
func spec(name, address string, routes ...v1alpha1.Route) translate.Service {
	s := v1alpha1.ProxyServiceSpec{Name: name, BindAddress: address, Upstreams: []string{"10.0.0.1:80"}, Routes: routes}
	defaults.Service(&s, v1alpha1.FromCluster)
	return translate.Service{Namespace: "ns", Name: name, Spec: s}
}

func input(services ...translate.Service) translate.Input {
	var g settings.Globals
	defaults.Globals(&g)
	in := translate.Input{Globals: g}
	for _, s := range services {
		in.Services = append(in.Services, &s)
	}
	return in
}

func TestSameInputSameSnapshot(t *testing.T) {
	text := harness.FullConfig(t)
	a, _ := translate.Translate(load(t, text))
	b, _ := translate.Translate(load(t, text))
	if !reflect.DeepEqual(a, b) {
		t.Error("two translations of one input differ")
	}
	in := load(t, strings.Replace(text, "request_ms: 5000", "request_ms: 5001", 1))
	if c, _ := translate.Translate(in); c.Hash == a.Hash {
		t.Error("another configuration has the same hash")
	}
}

// What lives under the ID of a cluster or the key of a filter survives a reload that is about something else.
func TestIDsAreStable(t *testing.T) {
	ids := func(text string) map[string]bool {
		s, _ := translate.Translate(load(t, text))
		out := map[string]bool{}
		for _, c := range s.Clusters {
			out[c.ID] = true
		}
		for _, l := range s.Listeners {
			for _, r := range l.Routes {
				out["route "+r.ID()] = true
				for _, f := range r.Filters {
					out[f.Key()] = true
				}
			}
		}
		return out
	}
	const b = `
  - name: b
    bind_address: ':81'
    upstreams: ['10.0.0.2:80', 'x.internal:80']
    backends: [{address: 10.0.0.3:80, role: Backup}]
    routes:
      - {name: r, matches: [{path: {value: /r}}], backends: [{address: 10.0.0.4:80}], filters: [{request_headers: {set: {A: b, C: d}}}]}
`
	before := ids("services:" + b)
	after := ids("services:\n  - {name: a, bind_address: ':80', upstreams: ['10.0.0.1:80']}" +
		strings.NewReplacer("['10.0.0.2:80', ", "['10.0.0.9:80', '10.0.0.2:80', ", "{name: r,", "{name: q, matches: [{path: {value: /q}}]}\n      - {name: r,").Replace(b))
	for id := range before {
		if !after[id] {
			t.Errorf("%q is gone", id)
		}
	}
	if len(before) != 4+2+1 {
		t.Errorf("got %v", before)
	}
}

func TestConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		in        translate.Input
		want      []translate.Problem
		listeners int
		routes    int
	}{
		"overlap: the oldest keeps the address": {
			in: input(spec("a", "10.0.0.1:80"), spec("b", "0.0.0.0:80"), spec("c", "10.0.0.2:80")),
			want: []translate.Problem{{
				Service: 1, Field: "bindAddress", Reason: v1alpha1.ReasonListenerConflict,
				Message: "`0.0.0.0:80` overlaps `10.0.0.1:80` of service `ns/a`", HolderField: "bindAddress",
			}},
			listeners: 2, routes: 2,
		},
		"the process's own addresses": {
			in: input(spec("a", "127.0.0.1:9901"), spec("b", "0.0.0.0:9102")),
			want: []translate.Problem{
				{
					Service: 0, Field: "bindAddress", Reason: v1alpha1.ReasonListenerConflict,
					Message: "`127.0.0.1:9901` is taken by the admin address `127.0.0.1:9901`", Holder: -1, HolderField: "admin.bindAddress",
				},
				{
					Service: 1, Field: "bindAddress", Reason: v1alpha1.ReasonListenerConflict,
					Message: "`0.0.0.0:9102` is taken by the metrics address `127.0.0.1:9102`", Holder: -1, HolderField: "metrics.bindAddress",
				},
			},
		},
		"the same requests: the oldest keeps them": {
			in: input(spec("a", ":80"), spec("b", "[::]:80")),
			want: []translate.Problem{{
				Service: 1, Reason: v1alpha1.ReasonRouteShadowed,
				Message: "takes the same requests (host `*`) on `[::]:80` as service `ns/a`",
			}},
			listeners: 1, routes: 1,
		},
		"a route of two matches loses one": {
			in: input(spec("a", ":80", route("r", "/x"), route("s", "/x/", "/y"))),
			want: []translate.Problem{{
				Route: "s", Field: "routes[1].matches[0]", Reason: v1alpha1.ReasonRouteShadowed,
				Message: "takes the same requests as route `r` of service `ns/a`", HolderRoute: "r", HolderField: "routes[0].matches[0]",
			}},
			listeners: 1, routes: 3,
		},
		"port 0 is shared, not taken": {in: input(spec("a", "127.0.0.1:0", route("r", "/"))), listeners: 1, routes: 1},
		"a bad address":               {in: input(spec("a", "x")), want: []translate.Problem{{Field: "bindAddress", Reason: v1alpha1.ReasonInvalid, Message: "must be an IP address and a port, such as `0.0.0.0:8080` or `[::1]:8080`"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, problems := translate.Translate(c.in)
			if diff := cmp.Diff(c.want, problems); diff != "" {
				t.Error(diff)
			}
			routes := 0
			for _, l := range s.Listeners {
				routes += len(l.Routes)
			}
			if len(s.Listeners) != c.listeners || routes != c.routes {
				t.Errorf("got %d listeners with %d routes, want %d with %d", len(s.Listeners), routes, c.listeners, c.routes)
			}
		})
	}
}

func route(name string, prefixes ...string) v1alpha1.Route {
	r := v1alpha1.Route{Name: name}
	for _, p := range prefixes {
		r.Matches = append(r.Matches, v1alpha1.Match{Path: &v1alpha1.PathMatch{Value: &p}})
	}
	return r
}

// A route that cannot be built answers 503; its siblings serve.
func TestBadRouteFailsAlone(t *testing.T) {
	bad := route("bad", "/bad")
	bad.Filters = []v1alpha1.Filter{{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{"Content-Length": "1"}}}}
	s, problems := translate.Translate(input(spec("a", ":80", bad, route("good", "/good"))))
	if len(problems) != 1 || problems[0].Field != "routes[0].filters" || problems[0].Reason != v1alpha1.ReasonInvalid || problems[0].Conflict() {
		t.Errorf("problems: %+v", problems)
	}
	routes := s.Listeners[0].Routes
	if len(routes) != 3 || routes[0].Invalid == "" || len(routes[0].Filters) != 0 || routes[1].Invalid != "" || len(routes[1].Clusters) != 1 {
		t.Errorf("routes: %+v", routes)
	}
}

// A sealed service is the same configuration as one that is not, and another one than before after a change.
func TestSealedServicesHaveTheSameHash(t *testing.T) {
	web := &translate.Service{Namespace: "shop", Name: "web"}
	in := translate.Input{Services: []*translate.Service{web}}
	defaults.Globals(&in.Globals)
	web.Spec.BindAddress = "0.0.0.0:80"
	defaults.Service(&web.Spec, v1alpha1.FromCluster)
	hash := func() string {
		s, _ := translate.Translate(in)
		return s.Hash
	}
	open := hash()
	web.Seal()
	if sealed := hash(); sealed != open {
		t.Errorf("%s, and %s when it is sealed", open, sealed)
	}
	web.Spec.BindAddress = "0.0.0.0:81"
	web.Seal()
	if changed := hash(); changed == open {
		t.Errorf("a change leaves the hash at %s", changed)
	}
}

package translate_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// guest is the world of an object of namespace team: there is a Service api in team and in other, which granted nothing.
func guest(change ...func(*realm.World)) *realm.World {
	api := realm.KubeService{Ports: []realm.KubePort{{Name: "http", Number: 80}}}
	w := &realm.World{
		Services: map[string]realm.KubeService{"team/api": api, "other/api": api},
		Endpoints: map[string][]snapshot.Endpoint{
			"other/api:http": {{Addr: netip.MustParseAddrPort("10.9.9.9:8080"), Weight: 1}},
		},
		Policy: realm.Policy{ClusterDomain: "cluster.local"},
	}
	for _, f := range change {
		f(w)
	}
	return w
}

func granted(from, kind, to, name string) func(*realm.World) {
	return func(w *realm.World) {
		w.Grants = append(w.Grants, realm.Grant{From: from, Kind: kind, To: to, Name: name})
	}
}

func external(name string) func(*realm.World) {
	return func(w *realm.World) {
		w.Services["team/ext"] = realm.KubeService{ExternalName: name, Ports: []realm.KubePort{{Name: "http", Number: 80}}}
	}
}

func allowNames(w *realm.World) { w.Policy.AllowExternalNames = true }
func allowLocal(w *realm.World) { w.Policy.AllowLocal = true }

// in translates one object of team beside one that is good, which no reason may touch.
func in(t *testing.T, w *realm.World, spec v1alpha1.ProxyServiceSpec) (*snapshot.Snapshot, []translate.Problem) {
	t.Helper()
	spec.Name, spec.BindAddress = "guest", "0.0.0.0:80"
	defaults.Service(&spec, v1alpha1.FromCluster)
	good := translate.Service{Namespace: "host", Name: "good", Spec: v1alpha1.ProxyServiceSpec{
		Name: "good", BindAddress: "0.0.0.0:81", Upstreams: []string{"10.0.0.1:80"},
	}}
	defaults.Service(&good.Spec, v1alpha1.FromCluster)
	all := input(good, translate.Service{Namespace: "team", Name: "guest", Spec: spec})
	all.World = w
	s, problems := translate.Translate(all)
	for _, p := range problems {
		if p.Service != 1 {
			t.Errorf("a problem of the other: %+v", p)
		}
	}
	if r := s.Listeners[0].Routes[0]; r.Invalid != "" || len(r.Clusters) != 1 {
		t.Errorf("the other's route is %+v", r)
	}
	return s, problems
}

// refused expects that nothing leads to a backend, the only one of its route: it answers 503, and its sibling serves.
func refused(t *testing.T, w *realm.World, b v1alpha1.Backend, reason string) {
	t.Helper()
	s, problems := in(t, w, v1alpha1.ProxyServiceSpec{
		Upstreams: []string{"10.0.0.2:80"}, Routes: []v1alpha1.Route{{Name: "r", Backends: []v1alpha1.Backend{b}}},
	})
	if len(problems) != 1 || problems[0].Reason != reason || problems[0].Route != "r" || problems[0].Field != "routes[0].backends[0]" {
		t.Errorf("the problems are %+v, want %s", problems, reason)
	}
	for _, c := range s.Clusters {
		if strings.Contains(c.ID, "|r|") || c.DNS != nil || c.Origin != nil {
			t.Errorf("there is a cluster %+v", c)
		}
	}
	for _, r := range s.Listeners[1].Routes {
		if (r.Invalid != "") != (r.Name == "r") || r.Name == "r" && len(r.Clusters) > 0 {
			t.Errorf("the route is %+v", r)
		}
	}
	if text := fmt.Sprintf("%+v", s); strings.Contains(text, "10.9.9.9") {
		t.Error("the snapshot holds an address of the other's Service")
	}
}

// permitted expects that the backend is used, and returns its cluster.
func permitted(t *testing.T, w *realm.World, b v1alpha1.Backend) *snapshot.Cluster {
	t.Helper()
	s, problems := in(t, w, v1alpha1.ProxyServiceSpec{Backends: []v1alpha1.Backend{b}})
	if len(problems) > 0 || len(s.Clusters) != 2 {
		t.Fatalf("the problems are %+v, the clusters %+v", problems, s.Clusters)
	}
	return s.Clusters[1]
}

func service(namespace, name string) v1alpha1.Backend {
	b := v1alpha1.Backend{Service: &v1alpha1.BackendService{Name: name, Port: intstr.FromString("http")}}
	if namespace != "" {
		b.Service.Namespace = &namespace
	}
	return b
}

func TestServicesOfOtherNamespaces(t *testing.T) {
	const no = v1alpha1.ReasonRefNotPermitted
	api := service("other", "api")
	refused(t, guest(), api, no)
	refused(t, guest(granted("other", "Service", "team", "")), api, no)    // the wrong way round
	refused(t, guest(granted("team", "Secret", "other", "")), api, no)     // another kind
	refused(t, guest(granted("else", "Service", "other", "")), api, no)    // for somebody else
	refused(t, guest(granted("team", "Service", "other", "web")), api, no) // another one
	refused(t, guest(granted("team", "Service", "else", "api")), api, no)  // of elsewhere
	refused(t, guest(granted("team", "Service", "other", "")), service("other", "gone"), v1alpha1.ReasonBackendNotFound)
	for _, name := range []string{"", "api"} {
		if c := permitted(t, guest(granted("team", "Service", "other", name)), api); len(c.Endpoints) != 1 || c.Origin.Namespace != "other" {
			t.Errorf("the cluster is %+v", c)
		}
	}
	permitted(t, guest(), service("", "api"))
	permitted(t, guest(), service("team", "api"))
	// Whether a Service is there is no business of who may not name it.
	_, there := in(t, guest(), v1alpha1.ProxyServiceSpec{Backends: []v1alpha1.Backend{api}})
	_, gone := in(t, guest(), v1alpha1.ProxyServiceSpec{Backends: []v1alpha1.Backend{service("other", "gone")}})
	if a, b := there[0].Message, strings.ReplaceAll(gone[0].Message, "gone", "api"); a != b {
		t.Errorf("%q is not %q", a, b)
	}
}

func TestExternalNames(t *testing.T) {
	ext := service("", "ext")
	refused(t, guest(external("x.example")), ext, v1alpha1.ReasonRefNotPermitted)
	refused(t, guest(external("localhost"), allowNames), ext, v1alpha1.ReasonAddressNotAllowed)
	refused(t, guest(external("api.other.svc.cluster.local"), allowNames), ext, v1alpha1.ReasonRefNotPermitted)
	refused(t, guest(external("127.0.0.1"), allowNames), ext, v1alpha1.ReasonBackendNotFound)
	if c := permitted(t, guest(external("x.example"), allowNames), ext); c.DNS == nil || c.DNS.Host != "x.example." {
		t.Errorf("the cluster is %+v", c)
	}
}

func TestStaticAddresses(t *testing.T) {
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "[::1]", "[::1%lo]", "[::1%1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", // this machine
		"169.254.169.254", "169.254.0.1", "[fe80::1]", "[fe80::1%eth0]", "[::ffff:169.254.169.254]", // its link
		"0.1.2.3", "[::ffff:0.0.0.0]", "[::%1]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]",
		"[fd00:ec2::254]", "[fd00:ec2::254%1]", "[fd20:ce::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"localhost", "LOCALHOST", "localhost.", "a.localhost", "A.LocalHost.",
	} {
		b := v1alpha1.Backend{Address: host + ":80"}
		t.Run(host, func(t *testing.T) {
			refused(t, guest(), b, v1alpha1.ReasonAddressNotAllowed)
			if !strings.Contains(host, "%") { // with a zone it may mean nothing at all
				permitted(t, guest(allowLocal), b)
			}
		})
	}
	// That no connection can have these as its other end is so everywhere.
	for _, host := range []string{"0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]"} {
		refused(t, guest(), v1alpha1.Backend{Address: host + ":80"}, v1alpha1.ReasonInvalid)
		refused(t, guest(allowLocal), v1alpha1.Backend{Address: host + ":80"}, v1alpha1.ReasonInvalid)
	}
	for _, host := range []string{"10.0.0.1", "128.0.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "1.1.1.1"} {
		permitted(t, guest(), v1alpha1.Backend{Address: host + ":80"})
	}
}

func TestNamesOfTheCluster(t *testing.T) {
	for _, host := range []string{
		"api.other.svc", "api.other.svc.", "API.Other.SVC", "api.other.svc.cluster.local", "api.other.svc.cluster.local.",
		"Api.other.svc.CLUSTER.Local.", "api-0.api.other.svc.cluster.local", "_http._tcp.api.other.svc", "kubernetes.default.svc",
		"10-0-0-1.other.pod.cluster.local", "10-0-0-1.other.pod.cluster.local.", "10-0-0-1.api.other.pod.cluster.local",
		"other.svc.cluster.local", "svc.cluster.local", "cluster.local", "cluster.local.", "other.svc", "node.cluster.local",
		"team.other.svc", "api.team.other.svc.cluster.local",
	} {
		t.Run(host, func(t *testing.T) {
			for _, w := range []*realm.World{guest(), guest(allowLocal, allowNames)} {
				refused(t, w, v1alpha1.Backend{Address: host + ":80"}, v1alpha1.ReasonRefNotPermitted)
			}
		})
	}
	grant := granted("team", "Service", "other", "api")
	for host, w := range map[string]*realm.World{
		"api.team.svc": guest(), "API.TEAM.svc.cluster.local.": guest(), "web-0.api.team.svc": guest(), "10-0-0-1.team.pod.cluster.local": guest(),
		"api.other.svc": guest(grant), "api-0.api.other.svc.cluster.local": guest(grant),
		// Names of the world outside, in which no search list may find anything of the cluster.
		"api.other": guest(), "api": guest(), "x.example": guest(), "api.other.svc.cluster.local.example": guest(), "xcluster.local": guest(),
	} {
		c := permitted(t, w, v1alpha1.Backend{Address: host + ":80"})
		if c.DNS == nil || !strings.HasSuffix(c.DNS.Host, ".") || strings.HasSuffix(c.DNS.Host, "..") {
			t.Errorf("%s: the cluster is %+v", host, c)
		}
	}
	refused(t, guest(granted("team", "Service", "other", "web")), v1alpha1.Backend{Address: "api.other.svc:80"}, v1alpha1.ReasonRefNotPermitted)
	elsewhere := guest(func(w *realm.World) { w.Policy.ClusterDomain = ".K8s.Example." })
	refused(t, elsewhere, v1alpha1.Backend{Address: "api.other.svc.k8s.example:80"}, v1alpha1.ReasonRefNotPermitted)
	refused(t, elsewhere, v1alpha1.Backend{Address: "api.other.svc:80"}, v1alpha1.ReasonRefNotPermitted)
	permitted(t, elsewhere, v1alpha1.Backend{Address: "api.other.svc.cluster.local:80"})
}

func TestAllowedPorts(t *testing.T) {
	w := guest(func(w *realm.World) {
		w.Policy.Ports = []realm.PortRange{{First: 80, Last: 80}, {First: 8000, Last: 8010}}
	})
	for port, allowed := range map[int]bool{80: true, 79: false, 81: false, 7999: false, 8000: true, 8010: true, 8011: false, 65535: false} {
		all := input(spec("a", fmt.Sprintf("0.0.0.0:%d", port)))
		all.World = w
		s, problems := translate.Translate(all)
		refused := len(problems) == 1 && problems[0].Reason == v1alpha1.ReasonPortNotAllowed && problems[0].Field == "bindAddress"
		if refused == allowed || len(s.Listeners) == 1 != allowed {
			t.Errorf("port %d: %+v", port, problems)
		}
	}
}

// owned says which of the objects, all of namespaces and hosts as given, oldest first, are refused.
func owned(objects ...string) []int {
	var services []translate.Service
	for i, o := range objects {
		namespace, list, _ := strings.Cut(o, " ")
		s := spec(fmt.Sprintf("s%d", i), fmt.Sprintf("0.0.0.0:%d", 8000+i))
		s.Namespace = namespace
		if host, ok := strings.CutPrefix(list, "route:"); ok {
			s.Spec.Routes = []v1alpha1.Route{{Name: "r", Hosts: []string{host}}}
		} else if list != "" {
			s.Spec.Hosts = strings.Split(list, ",")
		}
		services = append(services, s)
	}
	all := input(services...)
	all.World = guest(func(w *realm.World) { w.Policy.StrictHosts = true })
	_, problems := translate.Translate(all)
	var out []int
	for _, p := range problems {
		if p.Reason == v1alpha1.ReasonHostNotOwned {
			out = append(out, p.Service)
		}
	}
	return out
}

// A host belongs to the namespace that had it first, on whatever address, and with what a wildcard covers.
func TestStrictHosts(t *testing.T) {
	for name, c := range map[string]struct {
		objects []string
		refused []int
	}{
		"the same host":                  {[]string{"a x.example", "b x.example", "a x.example", "b y.example"}, []int{1}},
		"in other letters":               {[]string{"a X.Example", "b x.eXample"}, []int{1}},
		"one of several":                 {[]string{"a x.example", "b y.example,x.example"}, []int{1}},
		"what is refused owns nothing":   {[]string{"a x.example", "b y.example,x.example", "c y.example"}, []int{1}},
		"below a wildcard":               {[]string{"a *.x.example", "b y.x.example", "b z.y.x.example", "b x.example"}, []int{1, 2}},
		"a wildcard above":               {[]string{"a y.x.example", "b *.x.example", "a *.x.example"}, []int{1}},
		"a wildcard far above":           {[]string{"a z.y.x.example", "b *.x.example"}, []int{1}},
		"a wildcard below a wildcard":    {[]string{"a *.x.example", "b *.y.x.example"}, []int{1}},
		"a wildcard above a wildcard":    {[]string{"a *.y.x.example", "b *.x.example"}, []int{1}},
		"a wildcard's own name":          {[]string{"a *.x.example", "b x.example"}, nil},
		"the end of a label is no label": {[]string{"a *.x.example", "b ax.example"}, nil},
		"every host":                     {[]string{"a", "b", "b x.example"}, []int{1}},
		"the host of a route":            {[]string{"a x.example", "b route:x.example"}, []int{1}},
		"below a wildcard, of a route":   {[]string{"a *.x.example", "b route:y.x.example"}, []int{1}},
		"a route was first":              {[]string{"a route:x.example", "b x.example"}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := owned(c.objects...); !slices.Equal(got, c.refused) {
				t.Errorf("refused are %v, want %v", got, c.refused)
			}
		})
	}
}

// Who names all the hosts that fit into an object holds nobody up.
func TestStrictHostsAreFound(t *testing.T) {
	many := make([]string, 0, 40_000)
	for i := range cap(many) {
		many = append(many, fmt.Sprintf("h%d.x.example", i))
	}
	if got := owned("a "+strings.Join(many, ","), "b "+strings.ReplaceAll(strings.Join(many, ","), ".x.", ".y."), "b *.x.example"); !slices.Equal(got, []int{2}) {
		t.Errorf("refused are %v", got)
	}
}

// Nobody takes the addresses of the process itself, in whatever words.
func TestAddressesOfTheProcess(t *testing.T) {
	for _, c := range []struct {
		metrics, wanted string
		refused         bool
	}{
		{"127.0.0.1:9102", "0.0.0.0:9102", true},
		{"127.0.0.1:9102", "127.0.0.1:9102", true},
		{"127.0.0.1:9102", ":9102", true},
		{"127.0.0.1:9102", "[::]:9102", true},
		{"127.0.0.1:9102", "[::ffff:127.0.0.1]:9102", true},
		{"0.0.0.0:9102", "10.0.0.1:9102", true},
		{"0.0.0.0:9102", "[::ffff:10.0.0.1]:9102", true},
		{"[::]:9102", "10.0.0.1:9102", true},
		{"127.0.0.1:9102", "0.0.0.0:9901", true}, // the admin API
		{"127.0.0.1:9102", "10.0.0.1:9102", false},
		{"off", "0.0.0.0:9102", false},
		{"127.0.0.1:9102", "0.0.0.0:9103", false},
	} {
		all := input(spec("a", c.wanted))
		all.Globals.Metrics.BindAddress = &c.metrics
		all.World = guest()
		s, problems := translate.Translate(all)
		if got := len(problems) == 1 && problems[0].Reason == v1alpha1.ReasonListenerConflict && problems[0].Holder == -1; got != c.refused || len(s.Listeners) == 0 != c.refused {
			t.Errorf("%s beside %s: %+v", c.wanted, c.metrics, problems)
		}
	}
}

// An object in which as much is wrong as fits holds nobody up: what is wrong is looked up, not searched for.
func TestFaultsWithoutEnd(t *testing.T) {
	s := spec("a", "0.0.0.0:80")
	kind, bad := v1alpha1.PathMatchRegex, "(("
	for i := range 250 {
		r := v1alpha1.Route{Name: fmt.Sprintf("r%d", i), Hosts: []string{fmt.Sprintf("h%d.example", i)}}
		for range 64 {
			r.Matches = append(r.Matches, v1alpha1.Match{Path: &v1alpha1.PathMatch{Type: &kind, Value: &bad}})
		}
		s.Spec.Routes = append(s.Spec.Routes, r)
	}
	defaults.Service(&s.Spec, v1alpha1.FromCluster)
	s.Faults = validation.Service(&s.Spec, field.NewPath("spec"), v1alpha1.FromCluster)
	in := input(s, spec("b", "0.0.0.0:81"))
	in.World = guest()
	done := make(chan *snapshot.Snapshot, 1)
	go func() {
		out, _ := translate.Translate(in)
		done <- out
	}()
	select {
	case out := <-done:
		if n := len(out.Listeners[0].Routes); n != 251 || out.Listeners[0].Routes[0].Invalid == "" || len(out.Listeners[1].Routes) != 1 {
			t.Errorf("%d routes", n)
		}
	case <-time.After(time.Minute): // far longer than it takes on a busy machine
		t.Fatal("the translation does not come to its end")
	}
}

// A route that cannot be built refuses more than it was meant to take, but nothing that is another object's, be that one
// younger: to break an object must not break others.
func TestWhatIsBrokenYields(t *testing.T) {
	kind, expr := v1alpha1.PathMatchRegex, "(("
	own := []v1alpha1.Backend{{Address: "10.0.0.8:80"}}
	served := route("r", "/r")
	served.Backends = own
	unmatched := v1alpha1.Route{Name: "r", Backends: own, Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &kind, Value: &expr}}}}
	never := &v1alpha1.Timeouts{ConnectMs: new(int32(-1))}
	for name, c := range map[string]struct {
		spec  v1alpha1.ProxyServiceSpec
		holds bool // it keeps what the younger one wants
	}{
		"a bad match":      {spec: v1alpha1.ProxyServiceSpec{Backends: own, Routes: []v1alpha1.Route{unmatched}}},
		"bad hosts":        {spec: v1alpha1.ProxyServiceSpec{Routes: []v1alpha1.Route{{Name: "r", Hosts: []string{"b a"}, Backends: own}}}},
		"no default route": {spec: v1alpha1.ProxyServiceSpec{Timeouts: never, Routes: []v1alpha1.Route{served}}},
		"a default route":  {spec: v1alpha1.ProxyServiceSpec{Timeouts: never, Backends: own}, holds: true},
		"a bad filter":     {spec: v1alpha1.ProxyServiceSpec{Routes: []v1alpha1.Route{{Name: "r", Backends: own, Filters: []v1alpha1.Filter{{}}}}}, holds: true},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Name, c.spec.BindAddress, c.spec.Hosts = "old", "0.0.0.0:80", []string{"a.example"}
			defaults.Service(&c.spec, v1alpha1.FromCluster)
			old := translate.Service{Namespace: "team", Name: "old", Spec: c.spec, Faults: validation.Service(&c.spec, field.NewPath("spec"), v1alpha1.FromCluster)}
			if len(old.Faults) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			young := spec("young", "0.0.0.0:80")
			young.Spec.Hosts = []string{"a.example"}
			both, alone := input(old, young), input(young)
			both.World, alone.World = guest(), guest()
			s, problems := translate.Translate(both)
			compile(t, s)
			lost := slices.ContainsFunc(problems, func(p translate.Problem) bool { return p.Service == 1 })
			routes := s.Listeners[0].Routes
			if c.holds {
				if !lost || len(routes) != 1 || routes[0].Invalid == "" {
					t.Errorf("the routes are %+v, the problems %+v", routes, problems)
				}
				return
			}
			without, _ := translate.Translate(alone)
			if want := without.Listeners[0].Routes[0]; lost || !reflect.DeepEqual(routes[0], want) && !reflect.DeepEqual(routes[1], want) {
				t.Errorf("the younger one has not what it would have alone: %+v, the problems %+v", routes, problems)
			}
			for i, r := range routes { // behind the younger one, and in front of nothing of its own
				if r.Service.Name == "old" && (r.Invalid == "" || i == 0 && r.Name != "r" || len(r.Clusters) > 0) {
					t.Errorf("route %d is %+v", i, r)
				}
			}
			if last := routes[len(routes)-1]; last.Service.Name != "old" {
				t.Errorf("the last route is %+v", last)
			}
		})
	}
}

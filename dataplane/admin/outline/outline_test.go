package outline

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/headers"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/redirect"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/rewrite"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

var salt = []byte("salt")

// A limit is a filter that this package has never heard of.
type limit struct {
	Owner    string `outline:"-"`
	Password string
	Name     string `outline:"show"`
	URL      string `outline:"url"`
	Keys     map[string]string
	Requests int
	Pairs    []pair `outline:"show"`
	private  string
}

type pair struct {
	Left  string
	Right string `outline:"secret"`
}

func (l limit) Key() string                         { return l.Owner + l.Password + l.Name + l.private }
func (limit) New(filter.Env) (filter.Filter, error) { return filter.Nop{}, nil }

// fill sets everything below v, each text to a name of its own, and calls leaf for all that is plain.
func fill(v reflect.Value, path string, leaf func(path string, v reflect.Value)) {
	switch x := v.Addr().Interface().(type) {
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("192.0.2.1:80")
		leaf(path, v)
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.0/24")
		leaf(path, v)
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.1")
		leaf(path, v)
		return
	case *filter.Config:
		*x = limit{Owner: "o", Password: "password-of-a-filter", Name: "n", URL: "http://user:pass-of-a-url@keys.example/set?query-of-a-url", Keys: map[string]string{"key-of-a-filter": "x"}, Requests: 1, Pairs: []pair{{"left-of-a-filter", "right-of-a-filter"}}}
		leaf(path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name, leaf)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path, leaf)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), path+"[0]", leaf)
	case reflect.String:
		v.SetString("text-of" + path)
		leaf(path, v)
	case reflect.Bool:
		v.SetBool(true)
		leaf(path, v)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
		leaf(path, v)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
		leaf(path, v)
	case reflect.Float64:
		v.SetFloat(1)
		leaf(path, v)
	default:
		panic("a snapshot holds a " + v.Kind().String() + " at " + path)
	}
}

// Nothing that a snapshot may hold is invisible: another value of any field makes another outline.
func TestEveryFieldIsSeen(t *testing.T) {
	leaves := map[string]reflect.Value{}
	s := new(snapshot.Snapshot)
	fill(reflect.ValueOf(s).Elem(), "", func(path string, v reflect.Value) { leaves[path] = v })
	if len(leaves) < 100 {
		t.Fatalf("only %d fields were found", len(leaves))
	}
	full := Of(s, salt)
	for path, v := range leaves {
		if path == ".Hash" || strings.HasPrefix(path, ".Listeners[0].Routes[0].Service.") &&
			path != ".Listeners[0].Routes[0].Service.Name" && path != ".Listeners[0].Routes[0].Service.Namespace" {
			continue // is shown elsewhere
		}
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		v.SetZero()
		if reflect.DeepEqual(full, Of(s, salt)) {
			t.Errorf("%s is not seen", path)
		}
		v.Set(was)
	}
	if !reflect.DeepEqual(full, Of(s, salt)) {
		t.Fatal("the test has changed the snapshot")
	}
}

func TestSecrets(t *testing.T) {
	s := new(snapshot.Snapshot)
	secrets := []string{"query-of-a-url", "pass-of-a-url", "right-of-a-filter", "password-of-a-filter", "key-of-a-filter"}
	fill(reflect.ValueOf(s).Elem(), "", func(path string, v reflect.Value) {
		if v.Kind() == reflect.String && (strings.HasSuffix(path, ".Value") || strings.Contains(path, "Secret") || strings.Contains(path, "Password")) {
			secrets = append(secrets, v.String())
		}
	})
	if len(secrets) < 4 {
		t.Fatalf("only these were found: %q", secrets)
	}
	s.Listeners[0].Services[0].TLS.Certificates = []snapshot.Certificate{{Name: "a", Chain: []byte("CHAIN"), Key: snapshot.Secret("PRIVATE")}}
	s.Listeners[0].Routes[0].Filters = append(s.Listeners[0].Routes[0].Filters,
		headers.Config{Set: []headers.Field{{Name: "Authorization", Value: "Bearer letmein"}}, Remove: []string{"X-Debug"}},
		&redirect.Config{Host: "www.example.com"}, rewrite.Config{Path: "/x"})
	s.Store.RedisURL = "redis://me:letmein@redis:6379/0"
	text, err := json.Marshal(Of(s, salt))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(secrets, "CHAIN", "PRIVATE", "letmein", "UFJJVkFURQ") {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	for _, shown := range []string{"left-of-a-filter", "@keys.example/set?(secret ", "Authorization", "X-Debug", "www.example.com", `"/x"`, "2 redirect", "redis:6379/0"} {
		if !strings.Contains(string(text), shown) {
			t.Errorf("%q is not shown in %s", shown, text)
		}
	}
	if reflect.DeepEqual(Of(s, salt), Of(s, []byte("another"))) {
		t.Error("a digest does not go by the salt")
	}
}

func world() *snapshot.Snapshot {
	shop := &snapshot.Service{Namespace: "n", Name: "shop", Hosts: []string{"shop.example"}}
	api := &snapshot.Route{
		Service: shop, Name: "api", Matches: []snapshot.Match{{Path: "/api", Headers: []snapshot.ValueMatch{{Name: "X", Value: "1"}}}},
		Clusters: []snapshot.WeightedCluster{{Cluster: "c", Weight: 1}}, Timeouts: snapshot.Timeouts{Request: 30 * time.Second},
		Filters: []filter.Config{limit{Owner: "o", Name: "slow", Requests: 5}},
	}
	all := &snapshot.Route{Service: shop, Name: "all"}
	return &snapshot.Snapshot{
		Hash:      "a",
		Listeners: []*snapshot.Listener{{Address: "0.0.0.0:80", Services: []*snapshot.Service{shop}, Routes: []*snapshot.Route{api, all}}},
		Clusters:  []*snapshot.Cluster{{ID: "c", Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:80"), Weight: 1}}}},
	}
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *snapshot.Snapshot)
		want   string
	}{
		{"nothing", func(*snapshot.Snapshot) {}, ""},
		{"another hash alone", func(s *snapshot.Snapshot) { s.Hash = "b" }, ""},
		{
			"a time-out", func(s *snapshot.Snapshot) { s.Listeners[0].Routes[0].Timeouts.Request = 5 * time.Second },
			"~ listeners[0.0.0.0:80].routes[n/shop/api].timeouts.request: 30s -> 5s\n",
		},
		{
			"a time-out that goes", func(s *snapshot.Snapshot) { s.Listeners[0].Routes[0].Timeouts.Request = 0 },
			"~ listeners[0.0.0.0:80].routes[n/shop/api].timeouts.request: 30s -> unset\n",
		},
		{
			"a secret", func(s *snapshot.Snapshot) { s.Listeners[0].Routes[0].Matches[0].Headers[0].Value = "2" },
			"~ listeners[0.0.0.0:80].routes[n/shop/api].matches[0].headers[0].value: (secret 7e1b…) -> (secret b143…)\n",
		},
		{"an endpoint", func(s *snapshot.Snapshot) {
			s.Clusters[0].Endpoints[0] = snapshot.Endpoint{Addr: netip.MustParseAddrPort("192.0.2.2:80"), Weight: 2}
		}, "- clusters[c].endpoints[192.0.2.1:80]\n-     weight: 1\n+ clusters[c].endpoints[192.0.2.2:80]\n+     weight: 2\n"},
		{"a route more", func(s *snapshot.Snapshot) {
			s.Listeners[0].Routes = append(s.Listeners[0].Routes, &snapshot.Route{Service: s.Listeners[0].Services[0], Name: "new", Hosts: []string{"a", "b"}})
		}, "+ listeners[0.0.0.0:80].routes[n/shop/new]\n+     hosts: [a, b]\n"},
		{"the order", func(s *snapshot.Snapshot) {
			r := s.Listeners[0].Routes
			r[0], r[1] = r[1], r[0]
		}, "~ listeners[0.0.0.0:80].routes: in another order\n"},
		{"a listener moves", func(s *snapshot.Snapshot) {
			s.Listeners[0] = &snapshot.Listener{Address: "0.0.0.0:81"}
		}, "- listeners[0.0.0.0:80]\n-     services[n/shop].hosts: [shop.example]\n" +
			"-     routes[n/shop/api].matches[0].path_type: Prefix\n-     routes[n/shop/api].matches[0].path: /api\n" +
			"-     routes[n/shop/api].matches[0].headers[0].name: X\n-     routes[n/shop/api].matches[0].headers[0].value: (secret 7e1b…)\n" +
			"-     routes[n/shop/api].filters[0 outline].name: slow\n-     routes[n/shop/api].filters[0 outline].requests: 5\n" +
			"-     routes[n/shop/api].clusters[c].weight: 1\n-     routes[n/shop/api].timeouts.request: 30s\n+ listeners[0.0.0.0:81]\n"},
		{"a setting of a filter that is shown", func(s *snapshot.Snapshot) {
			s.Listeners[0].Routes[0].Filters[0] = limit{Owner: "o", Name: "fast", Requests: 5}
		}, "~ listeners[0.0.0.0:80].routes[n/shop/api].filters[0 outline].name: slow -> fast\n"},
		{"a setting of a filter that nobody shows", func(s *snapshot.Snapshot) {
			s.Listeners[0].Routes[0].Filters[0] = limit{Owner: "o", Name: "slow", Requests: 5, private: "x"}
		}, "~ listeners[0.0.0.0:80].routes[n/shop/api].filters[0 outline].other settings: changed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := world()
			c.change(next)
			var before []Part // as it travels
			text, err := json.Marshal(Of(world(), salt))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &before); err != nil {
				t.Fatal(err)
			}
			changes := Diff(before, Of(next, salt))
			var b strings.Builder
			if err := Write(&b, changes); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, digests(b.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// digests cuts digests to four digits.
func digests(text string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "(secret ")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("(secret " + rest[:4] + "…)")
		text = rest[strings.IndexByte(rest, ')')+1:]
	}
}

func TestPublic(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"redis://host/0":             "redis://host/0",
		"a@b":                        "a@b",
		"redis://u:p@host:1/0?x=@":   "redis://" + Digest(salt, []byte("u:p")) + "@host:1/0?x=@",
		"redis://u:p@ho st:1/0":      Digest(salt, []byte("redis://u:p@ho st:1/0")),
		"https://host/path?mail=a@b": "https://host/path?mail=a@b",
	} {
		if got := Public(text, salt); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

package status

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// sample is an object without any problem.
func sample(change ...func(*Object)) Object {
	o := Object{
		Key: types.NamespacedName{Namespace: "shop", Name: "web"}, UID: "u1", Generation: 7, Version: 100, Hash: "9f3c",
		Routes: []string{"api", "site"}, Listening: true, Healthy: 4, Total: 5, Addresses: []string{"192.0.2.1:80"},
	}
	for _, f := range change {
		f(&o)
	}
	return o
}

func problems(list ...translate.Problem) func(*Object) {
	return func(o *Object) { o.Problems = list }
}

func holds(list ...Hold) func(*Object) {
	return func(o *Object) { o.Holds = list }
}

func at(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(1_800_000_000+seconds, 0)) }

func replicas(versions ...uint64) []Replica {
	var out []Replica
	for i, v := range versions {
		out = append(out, Replica{Name: fmt.Sprintf("pingora-proxy-%d", i), Version: v})
	}
	return out
}

// spell writes conditions in one line each.
func spell(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, strings.TrimRight(fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message), " "))
	}
	return out
}

const (
	fine       = "Accepted=True Accepted it can be served as it stands"
	there      = "ResolvedRefs=True ResolvedRefs everything that it names is there and may be used"
	programmed = "Programmed=True Programmed 2 of 2 replicas serve hash 9f3c"
	refused    = "Programmed=False NotAccepted the condition Accepted says why; the rest of it is served"
	free       = "Conflicted=False NoConflict nothing older takes what it wants"
)

// A replica that serves the generation, but could not bind the address, does not serve the object.
func TestUnboundIsNotProgrammed(t *testing.T) {
	o := Object{Version: 5, Listener: "0.0.0.0:80"}
	replicas := []Replica{{Name: "a", Version: 5}, {Name: "b", Version: 9, Unbound: "0.0.0.0:443,0.0.0.0:80"}, {Name: "c", Version: 9, Unbound: "0.0.0.0:8080"}}
	if got := o.programmed(replicas); got != 2 {
		t.Errorf("%d of 3 replicas serve it, want 2", got)
	}
}

func TestConditionsOfTheObject(t *testing.T) {
	const reason = v1alpha1.ReasonBindFailed
	for name, c := range map[string]struct {
		object Object
		want   []string
	}{
		"nothing to say": {sample(), []string{fine, there, programmed, free}},
		"an invalid part": {
			sample(problems(translate.Problem{Route: "api", Field: "routes[0].filters", Reason: v1alpha1.ReasonInvalid, Message: "bad regex"})),
			[]string{"Accepted=False Invalid routes[0].filters: bad regex", there, refused, free},
		},
		"nothing of it is served": {
			sample(problems(translate.Problem{Field: "bindAddress", Reason: reason, Message: "permission denied"}),
				func(o *Object) { o.Listening = false }),
			[]string{
				"Accepted=False BindFailed bindAddress: permission denied", there,
				"Programmed=False NotAccepted the condition Accepted says why; nothing of it is served", free,
			},
		},
		"a port": {
			sample(problems(translate.Problem{Field: "bindAddress", Reason: v1alpha1.ReasonPortNotAllowed, Message: "port 22"})),
			[]string{"Accepted=False PortNotAllowed bindAddress: port 22", there, refused, free},
		},
		"an address": {
			sample(problems(translate.Problem{Field: "upstreams[0]", Reason: v1alpha1.ReasonAddressNotAllowed, Message: "127.0.0.1"})),
			[]string{"Accepted=False AddressNotAllowed upstreams[0]: 127.0.0.1", there, refused, free},
		},
		"a host": {
			sample(problems(translate.Problem{Field: "hosts[0]", Reason: v1alpha1.ReasonHostNotOwned, Message: "belongs to `a`"})),
			[]string{
				"Accepted=False HostNotOwned hosts[0]: belongs to `a`", there, refused, "Conflicted=True HostNotOwned hosts[0]: belongs to `a`",
			},
		},
		"a listener": {
			sample(problems(translate.Problem{Field: "bindAddress", Reason: v1alpha1.ReasonListenerConflict, Message: "held by `a/b`"})),
			[]string{
				"Accepted=False ListenerConflict bindAddress: held by `a/b`", there, refused,
				"Conflicted=True ListenerConflict bindAddress: held by `a/b`",
			},
		},
		"a shadowed route": {
			sample(problems(translate.Problem{Route: "api", Field: "routes[0]", Reason: v1alpha1.ReasonRouteShadowed, Message: "as `a/b`"})),
			[]string{fine, there, programmed, "Conflicted=True RouteShadowed routes[0]: as `a/b`"},
		},
		"no such backend": {
			sample(problems(translate.Problem{
				Route: "site", Field: "routes[1].backends[0]", Reason: v1alpha1.ReasonBackendNotFound,
				Message: "Service `shop/api` has no port 8080",
			})),
			[]string{
				fine, "ResolvedRefs=False BackendNotFound routes[1].backends[0]: Service `shop/api` has no port 8080", programmed, free,
			},
		},
		"the first reason counts": {
			sample(problems(
				translate.Problem{Field: "tlsConfig.certificates[0]", Reason: v1alpha1.ReasonRefNotPermitted, Message: "no grant"},
				translate.Problem{Field: "tlsConfig.certificates[1]", Reason: v1alpha1.ReasonInvalidCertificateRef, Message: "no PEM"},
				translate.Problem{Reason: v1alpha1.ReasonInvalid, Message: "of the whole"},
			)),
			[]string{
				"Accepted=False Invalid of the whole",
				"ResolvedRefs=False RefNotPermitted tlsConfig.certificates[0]: no grant; tlsConfig.certificates[1]: no PEM",
				refused, free,
			},
		},
		"a reason from elsewhere": {
			sample(problems(translate.Problem{Reason: "Strange", Message: "m"}, translate.Problem{Message: "n"})),
			[]string{"Accepted=False Strange m; n", there, refused, free},
		},
		"a winner": {
			sample(holds(Hold{Route: "api", Message: "route `x` of `b/c` takes the same requests", Other: "b/c"}, Hold{Other: "d/e"},
				Hold{Message: "overlaps `0.0.0.0:80`", Other: "f/g"})),
			[]string{
				fine, there, programmed,
				"Conflicted=False Holds route `x` of `b/c` takes the same requests; `d/e`; `f/g`: overlaps `0.0.0.0:80`",
			},
		},
		"a winner that loses elsewhere": {
			sample(holds(Hold{Other: "d/e"}), problems(translate.Problem{Reason: v1alpha1.ReasonRouteShadowed, Message: "as `a/b`"})),
			[]string{fine, there, programmed, "Conflicted=True RouteShadowed as `a/b`"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(c.object, replicas(100, 101), v1alpha1.ProxyServiceStatus{}, at(0))
			if diff := cmp.Diff(c.want, spell(got.Conditions)); diff != "" {
				t.Error(diff)
			}
			for _, condition := range got.Conditions {
				if condition.ObservedGeneration != 7 || !condition.LastTransitionTime.Equal(new(at(0))) {
					t.Errorf("%s: generation %d, time %v", condition.Type, condition.ObservedGeneration, condition.LastTransitionTime)
				}
			}
		})
	}
}

func TestTheRestOfTheStatus(t *testing.T) {
	got := Of(sample(), replicas(100, 99, 250), v1alpha1.ProxyServiceStatus{}, at(0))
	got.Conditions, got.Routes = nil, nil
	want := v1alpha1.ProxyServiceStatus{
		ObservedGeneration: 7,
		Endpoints:          &v1alpha1.EndpointCounts{Healthy: 4, Total: 5},
		EndpointsSummary:   "4/5",
		Replicas:           &v1alpha1.ReplicaCounts{Programmed: 2, Total: 3},
		ConfigHash:         "9f3c",
		Addresses:          []string{"192.0.2.1:80"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConditionsOfRoutes(t *testing.T) {
	o := sample(
		problems(
			translate.Problem{Field: "bindAddress", Reason: v1alpha1.ReasonInvalid, Message: "of no route"},
			translate.Problem{Route: "site", Field: "routes[1]", Reason: v1alpha1.ReasonBackendNotFound, Message: "gone"},
			translate.Problem{Route: "site", Field: "routes[1]", Reason: v1alpha1.ReasonRouteShadowed, Message: "as `a/b`"},
			translate.Problem{Route: "default", Reason: v1alpha1.ReasonRouteShadowed, Message: "a route that the spec does not have"},
		),
		holds(Hold{Route: "last", Message: "wanted by `c/d`", Other: "c/d"}),
		func(o *Object) { o.Routes = []string{"site", "api", "last"} },
	)
	got := map[string][]string{}
	var order []string
	for _, r := range Of(o, nil, v1alpha1.ProxyServiceStatus{}, at(0)).Routes {
		order = append(order, r.Name)
		got[r.Name] = spell(r.Conditions)
	}
	if diff := cmp.Diff(o.Routes, order); diff != "" {
		t.Errorf("order: %s", diff)
	}
	want := map[string][]string{
		"site": {"Accepted=True Accepted", "ResolvedRefs=False BackendNotFound routes[1]: gone", "Conflicted=True RouteShadowed routes[1]: as `a/b`"},
		"api":  {"Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs", "Conflicted=False NoConflict"},
		"last": {"Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs", "Conflicted=False Holds wanted by `c/d`"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProgrammed(t *testing.T) {
	before := func(change func(*v1alpha1.ProxyServiceStatus)) v1alpha1.ProxyServiceStatus {
		s := Of(sample(), replicas(100, 100), v1alpha1.ProxyServiceStatus{}, at(0))
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		object   Object
		replicas []Replica
		previous v1alpha1.ProxyServiceStatus
		want     string
		counts   v1alpha1.ReplicaCounts
	}{
		"all":      {sample(), replicas(100, 7000), v1alpha1.ProxyServiceStatus{}, programmed, v1alpha1.ReplicaCounts{Programmed: 2, Total: 2}},
		"not all":  {sample(), replicas(100, 99, 100), v1alpha1.ProxyServiceStatus{}, "Programmed=False Pending 2 of 3 replicas serve hash 9f3c", v1alpha1.ReplicaCounts{Programmed: 2, Total: 3}},
		"one late": {sample(), replicas(100, 99, 100), before(func(*v1alpha1.ProxyServiceStatus) {}), "Programmed=False Pending 2 of 3 replicas serve hash 9f3c", v1alpha1.ReplicaCounts{Programmed: 2, Total: 3}},
		"none":     {sample(), nil, v1alpha1.ProxyServiceStatus{}, "Programmed=False Pending no replica is ready", v1alpha1.ReplicaCounts{}},
		"unknown for the moment": {
			sample(), nil, before(func(*v1alpha1.ProxyServiceStatus) {}), programmed, v1alpha1.ReplicaCounts{Programmed: 2, Total: 2},
		},
		"unknown, of an older generation": {
			sample(func(o *Object) { o.Generation = 8 }), nil, before(func(*v1alpha1.ProxyServiceStatus) {}),
			"Programmed=False Pending no replica is ready",
			v1alpha1.ReplicaCounts{},
		},
		"unknown, of another spec": {
			sample(), nil, before(func(s *v1alpha1.ProxyServiceStatus) { s.ConfigHash = "0000" }),
			"Programmed=False Pending no replica is ready",
			v1alpha1.ReplicaCounts{},
		},
		"unknown, and never was": {
			sample(), nil, before(func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[2].Status = metav1.ConditionFalse }),
			"Programmed=False Pending no replica is ready",
			v1alpha1.ReplicaCounts{},
		},
		"unknown and not accepted": {
			sample(problems(translate.Problem{Reason: v1alpha1.ReasonInvalid, Message: "m"})), nil,
			before(func(*v1alpha1.ProxyServiceStatus) {}), refused,
			v1alpha1.ReplicaCounts{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(c.object, c.replicas, c.previous, at(9))
			if text := spell(got.Conditions)[2]; text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
			if *got.Replicas != c.counts {
				t.Errorf("replicas %+v, want %+v", *got.Replicas, c.counts)
			}
		})
	}
}

func TestTimesOfTransitions(t *testing.T) {
	first := Of(sample(), replicas(100), v1alpha1.ProxyServiceStatus{}, at(0))
	bad := problems(translate.Problem{Route: "api", Reason: v1alpha1.ReasonBackendNotFound, Message: "m"})
	second := Of(sample(bad, func(o *Object) { o.Generation = 8 }), replicas(100), first, at(10))
	worse := problems(translate.Problem{Route: "api", Reason: v1alpha1.ReasonRefNotPermitted, Message: "n"})
	third := Of(sample(worse, func(o *Object) { o.Generation = 9 }), replicas(99), second, at(20))

	times := func(conditions []metav1.Condition) map[string]int64 {
		out := map[string]int64{}
		for _, c := range conditions {
			out[c.Type] = c.LastTransitionTime.Unix() - at(0).Unix()
		}
		return out
	}
	want := map[string]int64{"Accepted": 0, "ResolvedRefs": 10, "Programmed": 20, "Conflicted": 0}
	if diff := cmp.Diff(want, times(third.Conditions)); diff != "" {
		t.Errorf("object: %s", diff)
	}
	want = map[string]int64{"Accepted": 0, "ResolvedRefs": 10, "Conflicted": 0}
	if diff := cmp.Diff(want, times(third.Routes[0].Conditions)); diff != "" {
		t.Errorf("route: %s", diff)
	}
	for i, c := range third.Conditions {
		if c.Type != first.Conditions[i].Type || c.ObservedGeneration != 9 {
			t.Errorf("%+v", c)
		}
	}
}

func TestConditionsOfOthersAreKept(t *testing.T) {
	foreign := metav1.Condition{Type: "acme.example/Audited", Status: metav1.ConditionTrue, Reason: "Done", LastTransitionTime: at(-5), ObservedGeneration: 3}
	previous := v1alpha1.ProxyServiceStatus{
		Conditions: []metav1.Condition{foreign},
		Routes:     []v1alpha1.RouteStatus{{Name: "site", Conditions: []metav1.Condition{foreign}}, {Name: "dropped", Conditions: []metav1.Condition{foreign}}},
	}
	once := Of(sample(), replicas(100), previous, at(0))
	twice := Of(sample(), replicas(100), once, at(1))
	if diff := cmp.Diff(once, twice); diff != "" {
		t.Errorf("not stable: %s", diff)
	}
	if len(twice.Conditions) != 5 || len(twice.Routes) != 2 {
		t.Fatalf("%+v", twice)
	}
	if diff := cmp.Diff([]metav1.Condition{foreign, foreign}, []metav1.Condition{twice.Conditions[4], twice.Routes[1].Conditions[3]}); diff != "" {
		t.Error(diff)
	}
	mine := own(twice)
	if len(mine.Conditions) != 4 || len(mine.Routes[1].Conditions) != 3 || len(twice.Routes[1].Conditions) != 4 {
		t.Errorf("own: %+v", mine)
	}
}

func TestBoundsOfTheStatus(t *testing.T) {
	o := sample()
	o.Routes, o.Addresses = nil, nil
	for i := range 600 {
		name := fmt.Sprintf("route-%d", i)
		o.Routes = append(o.Routes, name, name)
		o.Addresses = append(o.Addresses, fmt.Sprintf("192.0.2.%d:80", i/2))
		o.Problems = append(o.Problems, translate.Problem{
			Route: name, Field: "routes", Reason: v1alpha1.ReasonInvalid, Message: strings.Repeat("ö", 20_000+i),
		})
		o.Holds = append(o.Holds, Hold{Route: name, Other: strings.Repeat("ß\xff", 20_000+i)})
	}
	got := Of(o, nil, v1alpha1.ProxyServiceStatus{}, at(0))
	if len(got.Routes) != 512 || len(got.Addresses) != 64 {
		t.Errorf("%d routes, %d addresses", len(got.Routes), len(got.Addresses))
	}
	unique := slices.Compact(slices.Sorted(slices.Values(got.Addresses)))
	if len(unique) != len(got.Addresses) {
		t.Error("an address twice")
	}
	check := func(conditions []metav1.Condition, limit int) {
		t.Helper()
		for _, c := range conditions {
			if len(c.Message) > limit || !utf8.ValidString(c.Message) {
				t.Errorf("%s: %d bytes, valid: %t", c.Type, len(c.Message), utf8.ValidString(c.Message))
			}
		}
	}
	check(got.Conditions, 1024)
	for _, r := range got.Routes {
		check(r.Conditions, 256)
	}
	for _, i := range []int{0, 3} {
		if m := got.Conditions[i].Message; !strings.HasSuffix(m, "; and 595 more") || strings.Count(m, "…; ") != 5 {
			t.Errorf("%s: %s", got.Conditions[i].Type, m)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		texts []string
		limit int
		want  string
	}{
		{[]string{"a"}, 100, "a"},
		{[]string{"a", "b", "a"}, 100, "a; b"},
		{[]string{"a", "b", "c", "d", "e"}, 100, "a; b; c; d; e"},
		{[]string{"a", "b", "c", "d", "e", "f", "a"}, 100, "a; b; c; d; e; and 1 more"},
		{[]string{"ab", "öööööööööö"}, 20, "ab; öö…"},
		{[]string{"short \xff"}, 20, "short \uFFFD"},
	} {
		if got := enumerate(c.texts, c.limit); got != c.want || len(got) > c.limit {
			t.Errorf("%q: got %q, want %q", c.texts, got, c.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	base := func() v1alpha1.ProxyServiceStatus {
		return Of(sample(), replicas(100, 100), v1alpha1.ProxyServiceStatus{}, at(0))
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.ProxyServiceStatus)
		want   difference
	}{
		"none": {func(*v1alpha1.ProxyServiceStatus) {}, same},
		"order": {func(s *v1alpha1.ProxyServiceStatus) {
			slices.Reverse(s.Conditions)
			slices.Reverse(s.Routes[0].Conditions)
		}, same},
		"times": {func(s *v1alpha1.ProxyServiceStatus) {
			s.Conditions[0].LastTransitionTime, s.Routes[0].Conditions[0].LastTransitionTime = at(99), at(99)
		}, same},
		"a condition of others": {func(s *v1alpha1.ProxyServiceStatus) {
			s.Conditions = append(s.Conditions, metav1.Condition{Type: "Foreign"})
		}, same},
		"endpoints":          {func(s *v1alpha1.ProxyServiceStatus) { s.Endpoints.Healthy = 3 }, counted},
		"no endpoints":       {func(s *v1alpha1.ProxyServiceStatus) { s.Endpoints = nil }, counted},
		"summary":            {func(s *v1alpha1.ProxyServiceStatus) { s.EndpointsSummary = "3/5" }, counted},
		"replicas":           {func(s *v1alpha1.ProxyServiceStatus) { s.Replicas.Total = 3 }, counted},
		"replicas, in words": {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[2].Message = "3 of 3" }, counted},
		"programmed":         {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[2].Status = metav1.ConditionFalse }, changed},
		"a reason":           {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[0].Reason = "X" }, changed},
		"a message":          {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[1].Message = "x" }, changed},
		"a message and endpoints": {func(s *v1alpha1.ProxyServiceStatus) {
			s.Conditions[1].Message, s.EndpointsSummary = "x", "3/5"
		}, changed},
		"a condition is gone": {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions = s.Conditions[1:] }, changed},
		"its generation":      {func(s *v1alpha1.ProxyServiceStatus) { s.Conditions[0].ObservedGeneration = 6 }, changed},
		"generation":          {func(s *v1alpha1.ProxyServiceStatus) { s.ObservedGeneration = 6 }, changed},
		"hash":                {func(s *v1alpha1.ProxyServiceStatus) { s.ConfigHash = "1" }, changed},
		"addresses":           {func(s *v1alpha1.ProxyServiceStatus) { s.Addresses = nil }, changed},
		"a route's condition": {func(s *v1alpha1.ProxyServiceStatus) { s.Routes[1].Conditions[0].Status = metav1.ConditionFalse }, changed},
		"a route":             {func(s *v1alpha1.ProxyServiceStatus) { s.Routes = s.Routes[:1] }, changed},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := base(), base()
			c.change(&b)
			if got := compare(&a, &b); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if got := compare(&b, &a); got != c.want {
				t.Errorf("the other way round: got %d, want %d", got, c.want)
			}
		})
	}
}

package parts_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTracing(t *testing.T) {
	for _, c := range []struct {
		name string
		in   settings.Tracing
		want snapshot.Tracing
	}{
		{"unset", settings.Tracing{}, snapshot.Tracing{W3C: true}},
		{"a port of gRPC", settings.Tracing{OTLPEndpoint: new("http://otel:4317")}, snapshot.Tracing{Endpoint: "http://otel:4317", W3C: true}},
		{"the port of HTTP", settings.Tracing{OTLPEndpoint: new("http://otel:4318")}, snapshot.Tracing{Endpoint: "http://otel:4318", W3C: true, HTTP: true}},
		{"a path", settings.Tracing{OTLPEndpoint: new("http://otel/v1/traces")}, snapshot.Tracing{Endpoint: "http://otel/v1/traces", W3C: true, HTTP: true}},
		{
			"what is said counts",
			settings.Tracing{OTLPEndpoint: new("http://otel:4318"), Protocol: new(settings.TracingGRPC)},
			snapshot.Tracing{Endpoint: "http://otel:4318", W3C: true},
		},
		{"B3 alone", settings.Tracing{Propagation: []settings.Propagation{settings.PropagationB3}}, snapshot.Tracing{B3: true}},
	} {
		c.want.CA = []byte("ca")
		equal(t, c.name, parts.Tracing(c.in, []byte("ca")), c.want)
	}
}

func TestGlobals(t *testing.T) {
	g := settings.Globals{}
	defaults.Globals(&g)
	g.Limits.MaxRequests, g.Limits.HeaderTimeoutMs, g.Limits.DrainTimeoutSecs = new(int32(7)), new(int32(8)), new(int32(9))
	l := parts.Limits(g.Limits)
	if l.MaxRequests != 7 || l.HeaderTimeout != 8*time.Millisecond || l.DrainTimeout != 9*time.Second || l.MaxConnections != int(*g.Limits.MaxConnections) {
		t.Errorf("the limits are %+v", l)
	}
	g.AccessLog.Path = new("/dev/null")
	equal(t, "access log", parts.AccessLog(g.AccessLog), snapshot.AccessLog{Path: "/dev/null", Format: string(*g.AccessLog.Format), SamplePercent: 100})
	s := parts.Store(settings.RateLimitStore{RedisURL: new("redis://r"), TimeoutMs: new(int32(5))}, []byte("ca"), []byte(" secret \r\n"))
	equal(t, "store", s, snapshot.Store{RedisURL: "redis://r", Timeout: 5 * time.Millisecond, CA: []byte("ca"), Password: snapshot.Secret(" secret ")})
}

func TestRoutes(t *testing.T) {
	equal(t, "no retry", parts.Retry(nil), snapshot.Retry{Attempts: 1})
	equal(t, "retry", parts.Retry(&v1alpha1.Retry{
		Attempts: new(int32(3)), PerTryTimeoutMs: new(int32(4)), BudgetPercent: new(int32(5)), Codes: []int32{502, 503},
	}), snapshot.Retry{Attempts: 3, PerTryTimeout: 4 * time.Millisecond, BudgetPercent: 5, Codes: []int{502, 503}})

	into := snapshot.Timeouts{Connect: 1, Request: 2, Idle: 3}
	parts.Timeouts(&into, nil)
	parts.Timeouts(&into, &v1alpha1.Timeouts{RequestMs: new(int32(0)), IdleSecs: new(int32(6))})
	equal(t, "time-outs", into, snapshot.Timeouts{Connect: 1, Request: 0, Idle: 6 * time.Second})
	parts.Timeouts(&into, &v1alpha1.Timeouts{ConnectMs: new(int32(7))})
	equal(t, "time-outs", into, snapshot.Timeouts{Connect: 7 * time.Millisecond, Idle: 6 * time.Second})

	equal(t, "every request", parts.Match(&v1alpha1.Match{}), snapshot.Match{})
	for kind, want := range map[v1alpha1.PathMatchType]snapshot.PathType{
		v1alpha1.PathMatchPrefix: snapshot.PathPrefix, v1alpha1.PathMatchExact: snapshot.PathExact, v1alpha1.PathMatchRegex: snapshot.PathRegex,
	} {
		equal(t, string(kind), parts.Match(&v1alpha1.Match{
			Path: &v1alpha1.PathMatch{Type: &kind, Value: new("/a")}, Methods: []string{"GET"},
			Headers: []v1alpha1.ValueMatch{{Name: "X-A", Value: new("b")}},
			Query:   []v1alpha1.ValueMatch{{Name: "q", Type: new(v1alpha1.ValueMatchRegex), Value: new("c+")}},
		}), snapshot.Match{
			Path: "/a", PathType: want, Methods: []string{"GET"},
			Headers: []snapshot.ValueMatch{{Name: "X-A", Value: "b"}}, Query: []snapshot.ValueMatch{{Name: "q", Value: "c+", Regex: true}},
		})
	}
}

func TestClusters(t *testing.T) {
	for kind, want := range map[v1alpha1.HealthCheckType]snapshot.CheckType{
		v1alpha1.HealthCheckTCP: snapshot.CheckTCP, v1alpha1.HealthCheckHTTP: snapshot.CheckHTTP,
		v1alpha1.HealthCheckGRPC: snapshot.CheckGRPC, v1alpha1.HealthCheckDisabled: snapshot.CheckDisabled,
	} {
		equal(t, string(kind), parts.HealthCheck(&v1alpha1.HealthCheck{
			Type: &kind, TimeoutMs: new(int32(1)), FrequencySecs: new(int32(2)), Path: new("/h"), Service: new("s"),
			HealthyThreshold: new(int32(3)), UnhealthyThreshold: new(int32(4)),
		}), snapshot.HealthCheck{
			Type: want, Timeout: time.Millisecond, Interval: 2 * time.Second, Path: "/h", Service: "s", HealthyThreshold: 3, UnhealthyThreshold: 4,
		})
	}
	equal(t, "no passive checks", parts.Passive(nil), (*snapshot.Passive)(nil))
	equal(t, "passive checks", parts.Passive(&v1alpha1.PassiveHealthCheck{
		ConsecutiveErrors: new(int32(1)), EjectionSecs: new(int32(2)), MaxEjectionPercent: new(int32(3)),
	}), &snapshot.Passive{ConsecutiveErrors: 1, Ejection: 2 * time.Second, MaxEjectionPercent: 3})
	equal(t, "no breaker", parts.Breaker(nil), (*snapshot.Breaker)(nil))
	equal(t, "breaker", parts.Breaker(&v1alpha1.CircuitBreaker{
		MaxConnections: new(int32(1)), MaxPending: new(int32(2)), ErrorPercent: new(int32(3)), MinRequests: new(int32(4)), OpenSecs: new(int32(5)),
	}), &snapshot.Breaker{MaxConnections: 1, MaxPending: 2, ErrorPercent: 3, MinRequests: 4, Open: 5 * time.Second})
	equal(t, "nobody asks for it", parts.Override(&v1alpha1.Backend{}), snapshot.Override{})
	equal(t, "who asks for it", parts.Override(&v1alpha1.Backend{Override: &v1alpha1.BackendOverride{Header: new("X-A"), Value: "b"}}),
		snapshot.Override{Header: "X-A", Value: "b"})
}

func TestBalancing(t *testing.T) {
	for kind, want := range map[v1alpha1.Algorithm]snapshot.Algorithm{
		v1alpha1.AlgorithmRoundRobin: snapshot.RoundRobin, v1alpha1.AlgorithmLeastRequest: snapshot.LeastRequest,
		v1alpha1.AlgorithmRandom: snapshot.Random, v1alpha1.AlgorithmConsistentHash: snapshot.ConsistentHash,
	} {
		equal(t, string(kind), parts.Algorithm(&v1alpha1.LoadBalancing{Algorithm: &kind}), want)
	}
	base := v1alpha1.LoadBalancing{SlowStartSecs: new(int32(1))}
	for name, c := range map[string]struct {
		other v1alpha1.LoadBalancing
		same  bool
	}{
		"the same":           {v1alpha1.LoadBalancing{SlowStartSecs: new(int32(1))}, true},
		"with cookies":       {v1alpha1.LoadBalancing{SlowStartSecs: new(int32(1)), Sticky: &v1alpha1.Sticky{}}, true},
		"another slow start": {v1alpha1.LoadBalancing{SlowStartSecs: new(int32(2))}, false},
		"another algorithm":  {v1alpha1.LoadBalancing{SlowStartSecs: new(int32(1)), Algorithm: new(v1alpha1.AlgorithmRandom)}, false},
		"by zones":           {v1alpha1.LoadBalancing{SlowStartSecs: new(int32(1)), ZoneAware: new(true)}, false},
	} {
		if got := parts.SameBalancing(&base, &c.other); got != c.same {
			t.Errorf("%s: %t", name, got)
		}
	}
	for kind, want := range map[v1alpha1.HashOnType]snapshot.HashOn{
		v1alpha1.HashClientIP: snapshot.HashClientIP, v1alpha1.HashPath: snapshot.HashPath,
		v1alpha1.HashHeader: snapshot.HashHeader, v1alpha1.HashCookie: snapshot.HashCookie,
	} {
		got, name := parts.HashOn(&v1alpha1.HashOn{Type: &kind, Name: new("n")})
		if got != want || (name == "n") != (kind == v1alpha1.HashHeader || kind == v1alpha1.HashCookie) {
			t.Errorf("%s: %v %q", kind, got, name)
		}
	}
	if got, name := parts.HashOn(nil); got != snapshot.HashClientIP || name != "" {
		t.Errorf("unset: %v %q", got, name)
	}
}

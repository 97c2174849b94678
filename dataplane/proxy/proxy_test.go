package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/accesslog"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/trace"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A downstream keeps what the client would see.
type downstream struct {
	status int
	fields []string
	body   string
	err    error // for Respond to return
	calls  int
}

func (d *downstream) Interim(*exchange.Exchange, int, *exchange.Header) error { return nil }

func (d *downstream) Respond(x *exchange.Exchange) error {
	d.calls++
	d.status, d.fields = x.Response.Status, fieldsOf(&x.Response.Header)
	if b := x.Response.Body; b != nil {
		all, _ := io.ReadAll(b)
		d.body = string(all)
	}
	return d.err
}

func fieldsOf(h *exchange.Header) []string {
	var list []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			list = append(list, string(name)+": "+string(value))
		}
	}
	slices.Sort(list)
	return list
}

// newExchange returns a GET / from peer with these fields, "name: value" each.
func newExchange(peer string, fields ...string) (*exchange.Exchange, *downstream) {
	d := &downstream{}
	addr := netip.MustParseAddr(peer)
	x := &exchange.Exchange{Downstream: d, Conn: &exchange.Conn{
		Remote: netip.AddrPortFrom(addr, 1234), RemoteIP: addr.Unmap().AppendTo(nil),
	}}
	r := &x.Request
	r.Method, r.MethodName, r.Protocol = exchange.GET, []byte("GET"), exchange.HTTP11
	r.Host, r.RawPath = []byte("example.com"), []byte("/")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	return x, d
}

func TestStripRequest(t *testing.T) {
	tests := []struct {
		name    string
		fields  []string
		upgrade bool
		length  int64
		want    []string
	}{
		{name: "hop by hop", fields: []string{"Keep-Alive: 1", "Proxy-Connection: x", "TE: trailers", "Proxy-Authorization: y", "HTTP2-Settings: z", "Connection: keep-alive", "Trailer: A", "Upgrade: u", "Expect: 100-continue", "X-Mine: 1"}, want: []string{"X-Mine: 1"}},
		{name: "listed", fields: []string{"Connection: x-a , X-B", "X-A: 1", "x-b: 2", "X-C: 3", "Connection: ,x-d,", "X-D: 4"}, want: []string{"X-C: 3"}},
		{
			name:   "listed in vain",
			fields: []string{"Connection: host, content-length, transfer-encoding, authorization, cookie, content-type", "Authorization: a", "Content-Type: c", "Cookie: b"},
			want:   []string{"Authorization: a", "Content-Type: c", "Cookie: b"},
		},
		{name: "listed and known", fields: []string{"Connection: x-forwarded-for, via", "X-Forwarded-For: 1.2.3.4", "Via: x"}},
		{name: "upgrade", fields: []string{"Connection: upgrade, x", "Upgrade: websocket", "X: 1"}, upgrade: true, want: []string{"Connection: Upgrade", "Upgrade: websocket"}},
		{name: "trailer of chunks", length: -1, fields: []string{"Trailer: A"}, want: []string{"Trailer: A"}},
	}
	for _, tt := range tests {
		x, _ := newExchange("192.0.2.1", tt.fields...)
		x.Request.Upgrade, x.Request.ContentLength = tt.upgrade, tt.length
		stripRequest(&x.Request)
		if got := fieldsOf(&x.Request.Header); !slices.Equal(got, tt.want) {
			t.Errorf("%s: left are %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name, peer string
		fields     []string
		client     string
		forwarded  string // X-Forwarded-For, as the endpoint gets it
		id         string // X-Request-Id; empty: made here
	}{
		{"direct", "192.0.2.1", nil, "192.0.2.1", "192.0.2.1", ""},
		{"lies", "192.0.2.1", []string{"X-Forwarded-For: 1.1.1.1", "X-Request-Id: mine", "X-Real-IP: 1.1.1.1"}, "192.0.2.1", "192.0.2.1", ""},
		{"behind a proxy", "10.0.0.1", []string{"X-Forwarded-For: 1.1.1.1", "X-Request-Id: theirs"}, "1.1.1.1", "1.1.1.1, 10.0.0.1", "theirs"},
		{"behind two", "10.0.0.1", []string{"X-Forwarded-For: 1.1.1.1, 10.0.0.2"}, "1.1.1.1", "1.1.1.1, 10.0.0.2, 10.0.0.1", ""},
		{"two fields", "10.0.0.1", []string{"X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 10.0.0.2"}, "1.1.1.1", "1.1.1.1, 10.0.0.2, 10.0.0.1", ""},
		{"a client that lies to a proxy", "10.0.0.1", []string{"X-Forwarded-For: 9.9.9.9, 1.1.1.1"}, "1.1.1.1", "9.9.9.9, 1.1.1.1, 10.0.0.1", ""},
		{"only proxies", "10.0.0.1", []string{"X-Forwarded-For: 10.0.0.3, 10.0.0.2"}, "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1", ""},
		{"nonsense in the chain", "10.0.0.1", []string{"X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2", "1.1.1.1, unknown, 10.0.0.2, 10.0.0.1", ""},
		{"with ports", "10.0.0.1", []string{"X-Forwarded-For: 1.1.1.1:80, 10.0.0.2:90"}, "1.1.1.1", "1.1.1.1:80, 10.0.0.2:90, 10.0.0.1", ""},
		{"IPv6", "fd00::1", []string{"X-Forwarded-For: [2001:db8::1]:80"}, "2001:db8::1", "[2001:db8::1]:80, fd00::1", ""},
		{"IPv4 in IPv6", "::ffff:10.0.0.1", []string{"X-Forwarded-For: ::ffff:1.1.1.1"}, "1.1.1.1", "::ffff:1.1.1.1, 10.0.0.1", ""},
		{"an id too long", "10.0.0.1", []string{"X-Request-Id: " + strings.Repeat("x", 129)}, "10.0.0.1", "10.0.0.1", ""},
	}
	for _, tt := range tests {
		x, _ := newExchange(tt.peer, tt.fields...)
		identify(x, &snapshot.Service{TrustedProxies: trusted})
		addForwarding(x, &Configuration{})
		h := &x.Request.Header
		if x.ClientIP.String() != tt.client {
			t.Errorf("%s: the client is %v, want %s", tt.name, x.ClientIP, tt.client)
		}
		if got := string(h.Value(exchange.XForwardedFor)); got != tt.forwarded || h.Next(exchange.XForwardedFor, h.Next(exchange.XForwardedFor, 0)+1) >= 0 {
			t.Errorf("%s: X-Forwarded-For is %q, want %q alone", tt.name, got, tt.forwarded)
		}
		id := string(h.Value(exchange.XRequestID))
		if id != string(x.RequestID) || tt.id != "" && id != tt.id || tt.id == "" && len(id) != 32 {
			t.Errorf("%s: the id is %q and %q, want %q", tt.name, id, x.RequestID, tt.id)
		}
		if h.Has(exchange.XRealIP) {
			t.Errorf("%s: X-Real-IP is passed on", tt.name)
		}
	}
}

func TestForwarded(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct{ peer, want string }{
		{"10.0.0.1", `for=1.1.1.1, for=10.0.0.1;host="example.com";proto=http`},
		{"192.0.2.1", `for=192.0.2.1;host="example.com";proto=http`},
		{"2001:db8::1", `for="[2001:db8::1]";host="example.com";proto=http`},
	} {
		x, _ := newExchange(tt.peer, "Forwarded: for=1.1.1.1")
		identify(x, &snapshot.Service{TrustedProxies: trusted})
		addForwarding(x, &Configuration{Via: true})
		h := &x.Request.Header
		if got := string(h.Value(exchange.Forwarded)); got != tt.want {
			t.Errorf("from %s: Forwarded is %s, want %s", tt.peer, got, tt.want)
		}
		if got := string(h.Value(exchange.Via)); got != "1.1 pingora-proxy" {
			t.Errorf("Via is %q", got)
		}
	}
}

func TestRetryable(t *testing.T) {
	s := &snapshot.Route{Retry: snapshot.Retry{Codes: []int{503}}}
	fails := func(r exchange.Reason, sent, read bool) *exchange.Failure {
		return &exchange.Failure{Reason: r, Sent: sent, BodyRead: read}
	}
	tests := []struct {
		name    string
		failure *exchange.Failure
		status  int
		get     bool // for an idempotent request
		post    bool
	}{
		{"no connection", fails(exchange.ConnectFailed, false, false), 0, true, true},
		{"no connection in time", fails(exchange.ConnectTimeout, false, false), 0, true, true},
		{"reset before anything was sent", fails(exchange.UpstreamReset, false, false), 0, true, true},
		{"reset", fails(exchange.UpstreamReset, true, false), 0, true, false},
		{"reset in the body", fails(exchange.UpstreamReset, true, true), 0, false, false},
		{"time-out", fails(exchange.UpstreamTimeout, true, false), 0, true, false},
		{"no HTTP", fails(exchange.UpstreamProtocol, true, false), 0, false, false},
		{"the client's fault", fails(exchange.ClientReset, false, false), 0, false, false},
		{"the body's time-out", fails(exchange.RequestTimeout, false, false), 0, false, false},
		{"a status to retry", nil, 503, true, false},
		{"another status", nil, 502, false, false},
	}
	for _, tt := range tests {
		for m := exchange.GET; m < exchange.MethodCount; m++ {
			x, _ := newExchange("192.0.2.1")
			x.Request.Method, x.Response.Status = m, tt.status
			want := tt.post
			if slices.Contains([]exchange.Method{exchange.GET, exchange.HEAD, exchange.PUT, exchange.DELETE, exchange.OPTIONS, exchange.TRACE}, m) {
				want = tt.get
			}
			if got := retryable(x, s, tt.failure); got != want {
				t.Errorf("%s, %v: retryable %t, want %t", tt.name, m, got, want)
			}
			x.Request.Body = new(exchange.Bytes)
			if got := retryable(x, s, tt.failure); got != want {
				t.Errorf("%s, %v with a body in memory: retryable %t, want %t", tt.name, m, got, want)
			}
			x.Request.Body = exchange.Wrapper{Body: new(exchange.Bytes)}
			if tt.failure == nil && retryable(x, s, nil) {
				t.Errorf("%s, %v: retryable though its body was sent", tt.name, m)
			}
		}
	}
}

func TestAnswerFailure(t *testing.T) {
	for reason, status := range map[exchange.Reason]int{
		exchange.ConnectFailed: 502, exchange.UpstreamReset: 502, exchange.UpstreamProtocol: 502,
		exchange.ConnectTimeout: 504, exchange.UpstreamTimeout: 504,
		exchange.RequestTimeout: 408, exchange.BadRequest: 400, exchange.HeaderTooLarge: 431, exchange.ClientReset: 499,
		exchange.BodyTooLarge: 413,
	} {
		x, _ := newExchange("192.0.2.1")
		answerFailure(x, &exchange.Failure{Reason: reason})
		if x.Response.Status != status || x.Record.Reason != reason {
			t.Errorf("%s: the answer is %d, %s; want %d", reason, x.Response.Status, x.Record.Reason, status)
		}
		if want := status >= 400 && status < 499; x.Response.Close != want {
			t.Errorf("%s: close is %t, want %t", reason, x.Response.Close, want)
		}
	}
}

// A rig is a Proxy with one service of one route.
type rig struct {
	p        *Proxy
	clusters *upstream.Clusters
	metrics  *telemetry.Metrics
}

// newRig makes a proxy for these endpoints.
func newRig(t testing.TB, dial func(context.Context, netip.AddrPort) (net.Conn, error), change func(*snapshot.Route), filters []filter.Filter, endpoints ...string) *rig {
	t.Helper()
	m := telemetry.NewMetrics("test")
	access := accesslog.New(logr.Discard(), m)
	sweeper := wire.NewSweeper()
	ctx, cancel := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	cs := upstream.New(upstream.Options{Log: logr.Discard(), Sweeper: sweeper, Dial: dial})
	t.Cleanup(func() {
		cs.Close()
		cancel()
		<-swept
		if err := access.Close(); err != nil {
			t.Error(err)
		}
	})
	cluster := &snapshot.Cluster{ID: "c", Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled}}
	for _, e := range endpoints {
		cluster.Endpoints = append(cluster.Endpoints, snapshot.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
	}
	cs.Apply([]*snapshot.Cluster{cluster})
	service := &snapshot.Service{Name: "s", HealthPath: "/health"}
	s := &snapshot.Route{
		Service: service, Name: "r", Clusters: []snapshot.WeightedCluster{{Cluster: "c", Weight: 1}},
		Timeouts: snapshot.Timeouts{Connect: 10 * time.Second, Request: 10 * time.Second, Idle: 10 * time.Second},
		Retry:    snapshot.Retry{Attempts: 1},
	}
	if change != nil {
		change(s)
	}
	table, err := router.Compile([]router.Listener{{
		Snapshot: &snapshot.Listener{Address: "a", Services: []*snapshot.Service{service}, Routes: []*snapshot.Route{s}},
		Routes:   []*router.Route{{Snapshot: s, Filters: filters, Group: group.New(cs).Get(s.ID(), s.Clusters, s.Balance), Metrics: m.Route("", "s", "r")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := New(m, access, trace.New(logr.Discard(), "test", nil), logr.Discard())
	p.Use(&Configuration{Table: table}, func() {})
	return &rig{p, cs, m}
}

var errRefused = errors.New("connection refused")

func refuse(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errRefused }

func TestServeAnswersItself(t *testing.T) {
	r := newRig(t, refuse, nil, nil, "127.0.0.1:1")
	tests := []struct {
		name   string
		change func(*exchange.Exchange)
		status int
		reason exchange.Reason
	}{
		{"refused connection", func(*exchange.Exchange) {}, 502, exchange.ConnectFailed},
		{"CONNECT", func(x *exchange.Exchange) { x.Request.Method = exchange.CONNECT }, 405, exchange.MethodRefused},
		{"TRACE", func(x *exchange.Exchange) { x.Request.Method = exchange.TRACE }, 405, exchange.MethodRefused},
		{"no path", func(x *exchange.Exchange) { x.Request.RawPath = []byte("/../..") }, 400, exchange.BadRequest},
		{"no listener", func(x *exchange.Exchange) { x.Conn.Listener = 7 }, 404, exchange.NoRoute},
		{"health", func(x *exchange.Exchange) { x.Request.RawPath = []byte("/health") }, 200, exchange.HealthEndpoint},
	}
	for _, tt := range tests {
		x, d := newExchange("192.0.2.1")
		tt.change(x)
		r.p.Serve(x)
		if d.status != tt.status || x.Record.Reason != tt.reason || x.Record.Status != tt.status || d.calls != 1 {
			t.Errorf("%s: %d, %s, answered %d times; want %d, %s, once", tt.name, d.status, x.Record.Reason, d.calls, tt.status, tt.reason)
		}
		if !slices.ContainsFunc(d.fields, func(f string) bool { return f == "X-Request-Id: "+string(x.RequestID) }) {
			t.Errorf("%s: the fields %q lack the request's id", tt.name, d.fields)
		}
	}
	x, d := newExchange("192.0.2.1")
	r.p.Refuse(x, 431, exchange.HeaderTooLarge)
	if d.status != 431 || x.Record.Reason != exchange.HeaderTooLarge {
		t.Errorf("Refuse answers %d, %s", d.status, x.Record.Reason)
	}
}

func TestUnhealthyServiceSaysSo(t *testing.T) {
	r := newRig(t, refuse, nil, nil)
	x, d := newExchange("192.0.2.1")
	x.Request.RawPath = []byte("/health")
	r.p.Serve(x)
	if d.status != 503 || !strings.Contains(d.body, "unhealthy") {
		t.Errorf("the health answer is %d %q", d.status, d.body)
	}
	x, d = newExchange("192.0.2.1")
	r.p.Serve(x)
	if d.status != 503 || x.Record.Reason != exchange.NoEndpoints {
		t.Errorf("the answer is %d, %s", d.status, x.Record.Reason)
	}
}

// TestRetriesAskOthers: each endpoint is asked once, as often as the route allows.
func TestRetriesAskOthers(t *testing.T) {
	for attempts, want := range map[int]int{1: 1, 2: 2, 9: 3} {
		asked := map[netip.AddrPort]int{}
		r := newRig(t, func(_ context.Context, a netip.AddrPort) (net.Conn, error) {
			asked[a]++
			return nil, errRefused
		}, func(s *snapshot.Route) { s.Retry.Attempts = attempts }, nil, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
		x, d := newExchange("192.0.2.1")
		x.Request.Method = exchange.POST
		r.p.Serve(x)
		if len(asked) != want || x.Record.Attempts != want || d.status != 502 {
			t.Errorf("%d attempts allowed: asked %v, %d attempts, status %d", attempts, asked, x.Record.Attempts, d.status)
		}
	}
}

// A spy is a filter that notes its calls.
type spy struct {
	filter.Nop
	name    string
	calls   *[]string
	respond bool
	panics  string // in which call
}

func (s *spy) note(what string) {
	*s.calls = append(*s.calls, s.name+" "+what)
	if what == s.panics {
		panic("on purpose")
	}
}

func (s *spy) Request(x *exchange.Exchange) filter.Verdict {
	s.note("request")
	if s.respond {
		x.Answer(403, "forbidden")
		return filter.Respond
	}
	return filter.Continue
}
func (s *spy) Attempt(*exchange.Exchange)  { s.note("attempt") }
func (s *spy) Response(*exchange.Exchange) { s.note("response") }
func (s *spy) Done(*exchange.Exchange)     { s.note("done") }

func TestFilters(t *testing.T) {
	for _, responds := range []bool{false, true} {
		var calls []string
		r := newRig(t, refuse, nil, []filter.Filter{
			&spy{name: "a", calls: &calls, respond: responds}, &spy{name: "b", calls: &calls},
		}, "127.0.0.1:1")
		x, d := newExchange("192.0.2.1")
		r.p.Serve(x)
		want, status := []string{"a request", "b request", "a attempt", "b attempt", "a response", "b response", "a done", "b done"}, 502
		if responds {
			want, status = []string{"a request", "a response", "a done"}, 403
		}
		if !slices.Equal(calls, want) || d.status != status {
			t.Errorf("responds %t: %d, %q; want %d, %q", responds, d.status, calls, status, want)
		}
	}
}

// A filter that panics keeps nobody from giving back what he holds.
func TestFiltersAreDoneBehindAPanic(t *testing.T) {
	for where, want := range map[string][]string{
		"request":  {"a request", "b request", "b done", "a done"},
		"response": {"a request", "b request", "a attempt", "b attempt", "a response", "b response", "b done", "a done"},
	} {
		var calls []string
		r := newRig(t, refuse, nil, []filter.Filter{
			&spy{name: "a", calls: &calls}, &spy{name: "b", calls: &calls, panics: where}, &spy{name: "c", calls: &calls},
		}, "127.0.0.1:1")
		x, _ := newExchange("192.0.2.1")
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the panic is not passed on", where)
				}
			}()
			r.p.Serve(x)
		}()
		calls = slices.DeleteFunc(calls, func(call string) bool { return strings.HasPrefix(call, "c ") })
		slices.Sort(calls)
		slices.Sort(want)
		if !slices.Equal(calls, want) {
			t.Errorf("%s: %q, want %q", where, calls, want)
		}
	}
}

func TestUseWaitsForExchanges(t *testing.T) {
	r := newRig(t, refuse, nil, nil)
	c := r.p.enter()
	replaced := 0
	r.p.Use(&Configuration{Table: &router.Table{}}, func() { replaced++ })
	if replaced != 0 {
		t.Error("replaced while an exchange uses it")
	}
	if now := r.p.enter(); now == c {
		t.Error("an exchange began with the old configuration")
	} else {
		now.leave()
	}
	c.leave()
	if replaced != 1 {
		t.Errorf("replaced %d times, want once", replaced)
	}
}

func findOnce(t testing.TB, r *rig, x *exchange.Exchange, d *downstream) {
	x.Reset()
	x.Downstream = d
	x.Request.Method, x.Request.Protocol = exchange.GET, exchange.HTTP11
	x.Request.Host, x.Request.RawPath = plainHost, plainPath
	x.Request.Header.AddIDString(exchange.UserAgent, "test")
	x.Request.Header.AddIDString(exchange.Connection, "keep-alive")
	c := r.p.enter()
	if find(x, c) == nil {
		t.Fatal("no route")
	}
	finishResponse(x, c)
	c.leave()
}

var plainHost, plainPath = []byte("example.com"), []byte("/a/path")

func BenchmarkFind(b *testing.B) {
	r := newRig(b, refuse, nil, nil, "127.0.0.1:1")
	x, d := newExchange("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		findOnce(b, r, x, d)
	}
}

package trace

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A sink is a collector that keeps what it gets.
type sink struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*otlp.Span
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.spans = append(s.spans, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &request) != nil || r.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer, _ := s.Export(r.Context(), &request)
	text, _ := proto.Marshal(answer)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(text)
}

// collect returns the address of a collector of each protocol.
func collect(t *testing.T, s *sink) (overGRPC, overHTTP string) {
	t.Helper()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return "http://" + ln.Addr().String(), web.URL
}

func exchangeOf(fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1234")}, ClientIP: netip.MustParseAddr("192.0.2.1")}
	x.Request.Method, x.Request.Protocol = exchange.GET, exchange.HTTP11
	x.Request.Host, x.Request.RawPath, x.Request.Path = []byte("shop.example:8080"), []byte("/a"), []byte("/a")
	x.Record.Start = exchange.Now()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

// run is what the proxy does with an exchange that has one failed try and a good one.
func run(tracer *Tracer, x *exchange.Exchange) {
	tracer.Begin(x)
	for attempt := 1; attempt <= 2 && x.Trace != nil; attempt++ {
		x.Record.Attempts, x.Record.UpstreamStart = attempt, exchange.Now()
		x.Trace.Attempt(x)
		x.Record.Upstream, x.Record.UpstreamHead = netip.MustParseAddrPort("10.0.0.1:80"), exchange.Now()
		if attempt == 1 {
			x.Trace.Attempted(x, &exchange.Failure{Reason: exchange.ConnectFailed})
			continue
		}
		x.Response.Status, x.Response.Protocol = 200, exchange.HTTP11
		x.Trace.Attempted(x, nil)
	}
	x.Record.Status, x.Record.Service, x.Record.Route, x.Record.End = 200, "shop", "api", exchange.Now()
	if x.Trace != nil {
		x.Trace.Done(x)
	}
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

func TestSpansReachTheCollector(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		s := &sink{}
		overGRPC, overHTTP := collect(t, s)
		c := Config{Endpoint: overGRPC, SamplePercent: 0, W3C: true, B3: true}
		if protocol == "http" {
			c.Endpoint, c.HTTP = overHTTP, true
		}
		told := &counts{}
		tracer := New(logr.Discard(), "test", told)
		if err := tracer.Apply(c); err != nil {
			t.Fatal(err)
		}
		x := exchangeOf("Traceparent: 00-"+traceID+"-"+spanID+"-01", "Tracestate: a=b", "B3: 0", "User-Agent: \xff")
		run(tracer, x)
		tracer.Close()
		if len(s.spans) != 3 || told.spans.Load() != 0 {
			t.Fatalf("%s: the collector got %v, %d are lost", protocol, s.spans, told.spans.Load())
		}
		server := s.spans[2]
		if server.GetKind() != otlp.Span_SPAN_KIND_SERVER || server.GetName() != "GET shop/api" || string(server.GetParentSpanId()) != "\xb7\xadkqi 31" {
			t.Errorf("%s: the server span is %v", protocol, server)
		}
		for i, want := range []string{"connect_failed", ""} {
			client := s.spans[i]
			failed := client.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR
			if client.GetKind() != otlp.Span_SPAN_KIND_CLIENT || string(client.GetParentSpanId()) != string(server.GetSpanId()) ||
				failed != (want != "") || client.GetStatus().GetMessage() != want {
				t.Errorf("%s: try %d is %v", protocol, i, client)
			}
		}
		parent, _ := x.Request.Header.Get("traceparent")
		if !strings.HasPrefix(string(parent), "00-"+traceID+"-") || strings.Contains(string(parent), spanID) {
			t.Errorf("%s: the endpoint gets traceparent %s", protocol, parent)
		}
		b3, _ := x.Request.Header.Get("b3")
		state, _ := x.Request.Header.Get("tracestate")
		if string(b3) != string(parent[3:53])+"1" || string(state) != "a=b" {
			t.Errorf("%s: the endpoint gets b3 %s, tracestate %s", protocol, b3, state)
		}
	}
}

func TestWhoIsTraced(t *testing.T) {
	_, overHTTP := collect(t, &sink{})
	for _, test := range []struct {
		name    string
		percent float64
		fields  []string
		traced  bool
		id      string
	}{
		{"nobody", 0, nil, false, ""},
		{"everybody", 100, nil, true, ""},
		{"a parent that is", 0, []string{"Traceparent: 00-" + traceID + "-" + spanID + "-01"}, true, traceID},
		{"a parent that is not", 100, []string{"Traceparent: 00-" + traceID + "-" + spanID + "-00"}, false, ""},
		{"B3", 0, []string{"B3: " + traceID + "-" + spanID + "-1"}, true, traceID},
		{"B3, short", 0, []string{"B3: 8448eb211c80319c-" + spanID + "-d"}, true, "00000000000000008448eb211c80319c"},
		{"B3, undecided", 100, []string{"B3: " + traceID + "-" + spanID}, true, traceID},
		{"B3, denied", 100, []string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: " + spanID, "X-B3-Sampled: 0"}, false, ""},
		{"B3, several fields", 0, []string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: " + spanID, "X-B3-Flags: 1"}, true, traceID},
		{"B3, bare denial", 0, []string{"B3: 0"}, false, ""},
		{"malformed", 0, []string{"Traceparent: 00-" + traceID + "-" + spanID + "-0x"}, false, ""},
		{"zero", 0, []string{"Traceparent: 00-00000000000000000000000000000000-" + spanID + "-01"}, false, ""},
		{"upper case", 0, []string{"Traceparent: 00-" + strings.ToUpper(traceID) + "-" + spanID + "-01"}, false, ""},
		{"of the future", 0, []string{"Traceparent: 01-" + traceID + "-" + spanID + "-01-x"}, true, traceID},
		{"of no version", 0, []string{"Traceparent: ff-" + traceID + "-" + spanID + "-01"}, false, ""},
	} {
		tracer := New(logr.Discard(), "test", nil)
		if err := tracer.Apply(Config{Endpoint: overHTTP, HTTP: true, SamplePercent: test.percent, W3C: true}); err != nil {
			t.Fatal(err)
		}
		x := exchangeOf(test.fields...)
		run(tracer, x)
		tracer.Close()
		if traced := x.Trace != nil; traced != test.traced {
			t.Errorf("%s: traced %t", test.name, traced)
			continue
		}
		if parent, _ := x.Request.Header.Get("traceparent"); test.traced && test.id != "" && !strings.HasPrefix(string(parent), "00-"+test.id) {
			t.Errorf("%s: the endpoint gets %q", test.name, parent)
		}
		if _, b3 := x.Request.Header.Get("b3"); test.traced && b3 {
			t.Errorf("%s: the endpoint gets the B3 field of the client", test.name)
		}
	}
}

// counts are what a Tracer tells of itself.
type counts struct{ batches, spans atomic.Int64 }

func (c *counts) SpansLost()         { c.batches.Add(1) }
func (c *counts) SpansDropped(n int) { c.spans.Add(int64(n)) }

// TestCollectorHangs: so many spans wait, and those that find no room are counted, each of them.
func TestCollectorHangs(t *testing.T) {
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	lost := &counts{}
	tracer := New(logr.Discard(), "test", lost)
	if err := tracer.Apply(Config{Endpoint: web.URL, HTTP: true, SamplePercent: 100}); err != nil {
		t.Fatal(err)
	}
	const each = 3 // spans of an exchange with two tries
	ended := int64(0)
	for lost.spans.Load() < 1000 {
		run(tracer, exchangeOf())
		ended += each
	}
	if kept := ended - lost.spans.Load(); kept < maxWaiting || kept > 2*maxWaiting {
		t.Errorf("%d spans are kept", kept)
	}
	close(release)
	web.Close()
	tracer.Close()
}

// Times of an exchange belong to each other, and to the clock on the wall.
func TestTimesFollowTheWall(t *testing.T) {
	now := exchange.Now()
	e := &exchangeTrace{wall: time.Now().Add(-9 * time.Hour), begun: now} // it was put forward since
	if d := e.at(now + 5).Sub(e.at(now - 20)); d != 25 {
		t.Errorf("%v between two moments, want 25ns", d)
	}
	if d := time.Since(e.at(now)); d < 9*time.Hour || d > 9*time.Hour+time.Minute {
		t.Errorf("%v ago", d)
	}
}

// TestCollectorAway: spans are lost, counted, and nobody waits for them.
func TestCollectorAway(t *testing.T) {
	lost := &counts{}
	tracer := New(logr.Discard(), "test", lost)
	gone := httptest.NewServer(nil)
	gone.Close()
	if err := tracer.Apply(Config{Endpoint: gone.URL, HTTP: true, SamplePercent: 100}); err != nil {
		t.Fatal(err)
	}
	run(tracer, exchangeOf())
	tracer.Close()
	if batches, spans := lost.batches.Load(), lost.spans.Load(); batches != 1 || spans != 3 {
		t.Errorf("%d batches and %d spans are lost, want 1 and 3", batches, spans)
	}
	if err := tracer.Apply(Config{Endpoint: "https://a", CA: []byte("x")}); err == nil {
		t.Error("a bundle without a certificate is taken")
	}
	x := exchangeOf()
	run(tracer, x)
	if x.Trace != nil {
		t.Error("traced though it is off")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("00-"+traceID+"-"+spanID+"-01", traceID+"-"+spanID+"-1")
	f.Add("", "0")
	f.Fuzz(func(t *testing.T, w3c, b3 string) {
		var h exchange.Header
		h.Add("traceparent", w3c)
		h.Add("b3", b3)
		if p, found := read(&h); found && (!p.trace.IsValid() || !p.span.IsValid()) {
			t.Errorf("%q %q: %v", w3c, b3, p)
		}
	})
}

func TestOffCostsNothing(t *testing.T) {
	tracer := New(logr.Discard(), "test", nil)
	x := exchangeOf()
	if n := testing.AllocsPerRun(100, func() { tracer.Begin(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTraced(b *testing.B) {
	s := &sink{}
	web := httptest.NewServer(s)
	defer web.Close()
	for name, percent := range map[string]float64{"all": 100, "tenth": 10, "none": 0} {
		b.Run(name, func(b *testing.B) {
			tracer := New(logr.Discard(), "test", nil)
			if err := tracer.Apply(Config{Endpoint: web.URL, HTTP: true, SamplePercent: percent, W3C: true}); err != nil {
				b.Fatal(err)
			}
			defer tracer.Close()
			b.ReportAllocs()
			for b.Loop() {
				run(tracer, exchangeOf())
			}
		})
	}
}

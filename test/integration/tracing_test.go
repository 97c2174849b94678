package integration_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// A spanSink is an OpenTelemetry collector that keeps what it gets.
type spanSink struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
}

func newSpanSink(t *testing.T) *spanSink {
	t.Helper()
	s := &spanSink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &request) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				s.spans = append(s.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// await waits for a span of a trace, of that kind.
func (s *spanSink) await(t *testing.T, trace string, kind otlp.Span_SpanKind) *otlp.Span {
	t.Helper()
	var found *otlp.Span
	harness.Eventually(t, "the collector has a span of "+trace, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, span := range s.spans {
			if hex.EncodeToString(span.GetTraceId()) == trace && span.GetKind() == kind {
				found = span
			}
		}
		return found != nil
	})
	return found
}

func TestTracing(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		sink := newSpanSink(t)
		c.Globals = "tracing: {otlp_endpoint: '" + sink.URL + "/v1/traces', sample_percent: 100, propagation: [W3C, B3]}\n"
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
`)
		const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		e := harness.ParseEchoed(t, c.Get(t, "http://shop.example:8080/a?secret=1", "traceparent: 00-"+trace+"-"+span+"-01").Body)
		server := sink.await(t, trace, otlp.Span_SPAN_KIND_SERVER)
		client := sink.await(t, trace, otlp.Span_SPAN_KIND_CLIENT)
		if got := e.Header.Get("Traceparent"); got != "00-"+trace+"-"+hex.EncodeToString(client.GetSpanId())+"-01" {
			t.Errorf("the endpoint got %q", got)
		}
		if got := e.Header.Get("B3"); got != trace+"-"+hex.EncodeToString(client.GetSpanId())+"-1" {
			t.Errorf("the endpoint got B3 %q", got)
		}
		if hex.EncodeToString(server.GetParentSpanId()) != span || string(client.GetParentSpanId()) != string(server.GetSpanId()) {
			t.Errorf("the spans do not hang together: %v, %v", server, client)
		}
		for _, s := range []*otlp.Span{server, client} {
			for _, a := range s.GetAttributes() {
				if a.GetKey() == "url.query" || a.GetKey() == "url.full" && a.GetValue().GetStringValue() != "http://shop.example:8080/a" {
					t.Errorf("%v", a)
				}
			}
		}
		if line := c.Proxy.AccessOf(t, "/a"); line.Text("trace_id") != trace {
			t.Errorf("the log has trace_id %q", line.Text("trace_id"))
		}
		// Who says that a trace is not sampled is believed, and passed on as he is.
		const denied = "00-1af7651916cd43dd8448eb211c80319c-" + span + "-00"
		if e := harness.ParseEchoed(t, c.Get(t, "http://shop.example:8080/b", "traceparent: "+denied).Body); e.Header.Get("Traceparent") != denied {
			t.Errorf("the endpoint got %q", e.Header.Get("Traceparent"))
		}
		if line := c.Proxy.AccessOf(t, "/b"); line.Text("trace_id") != "" {
			t.Errorf("the log has trace_id %q", line.Text("trace_id"))
		}
		// A request without a trace gets one.
		e = harness.ParseEchoed(t, c.Get(t, "http://shop.example:8080/c").Body)
		line := c.Proxy.AccessOf(t, "/c")
		if id := line.Text("trace_id"); len(id) != 32 || len(e.Header.Get("Traceparent")) != 55 || e.Header.Get("Traceparent")[3:35] != id {
			t.Errorf("the log has trace_id %q, the endpoint got %q", id, e.Header.Get("Traceparent"))
		}
	})
}

package telemetry

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// series gathers every sample of the proxy's own metrics, buckets included, by the form of the text format.
func series(t testing.TB, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), prefix)
		if !ours {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := func(suffix string, more ...string) string {
				return name + suffix + "{" + strings.Join(append(slices.Clone(labels), more...), ",") + "}"
			}
			switch f.GetType().String() {
			case "HISTOGRAM":
				h := s.GetHistogram()
				all[key("_sum")], all[key("_count")] = h.GetSampleSum(), float64(h.GetSampleCount())
				for _, b := range h.GetBucket() {
					all[key("_bucket", fmt.Sprintf("le=%q", fmt.Sprint(b.GetUpperBound())))] = float64(b.GetCumulativeCount())
				}
				all[key("_bucket", `le="+Inf"`)] = float64(h.GetSampleCount())
			case "COUNTER":
				all[key("")] = s.GetCounter().GetValue()
			default:
				all[key("")] = s.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestEverythingHasItsName(t *testing.T) {
	m := NewMetrics("1.2.3")
	x := served()
	x.Record.Attempts = 3
	m.Route("ns", "shop", "cart").Observe(x)
	x.Answer(502, exchange.ConnectFailed)
	x.Record.Status = 502
	m.Route("ns", "shop", "cart").Observe(x)
	x.ResetResponse()
	x.Record.Reason = exchange.UpstreamTruncated
	m.NoRoute().Observe(x)
	m.RejectConnection(exchange.Overload)
	m.UpstreamError(exchange.ConnectFailed)
	m.Eject("health_check")
	m.HealthCheck(true)
	m.HealthCheck(false)
	m.HealthCheck(false)
	m.Reload(nil)
	m.Connections.Add(3)
	m.OpenConnections.Inc()
	m.OpenConnections.Inc()
	m.OpenConnections.Dec()
	m.ActiveRequests.Set(5)
	m.OpenTunnels.Set(6)
	m.SharedStore(true, true)
	m.AccessLogDropped.Add(7)
	m.AccessLogWriteErrors.Inc()
	lost := new(Counter)
	lost.Add(2)
	m.SetLogLost(lost)
	m.AcceptErrors.Inc()
	m.SpansDropped(9)
	m.SetNames(func() (int, int) { return 3, 1 })
	m.SetUpstreams(func(yield func(string, bool)) {
		yield("10.0.0.1:80", true)
		yield("10.0.0.2:80", false)
		yield("10.0.0.3:80", true)
		yield("10.0.0.3:80", false)
	})
	got := series(t, m)
	if at := got["config_last_reload_success_timestamp_seconds{}"]; time.Since(time.UnixMilli(int64(at*1000))).Abs() > time.Hour {
		t.Errorf("reload timestamp is %v", at)
	}
	delete(got, "config_last_reload_success_timestamp_seconds{}")
	for name := range got {
		if strings.Contains(name, "_bucket{") || strings.Contains(name, "_sum{") || strings.HasPrefix(name, "build_info{") {
			delete(got, name)
		}
	}
	route, none := `namespace="ns",route="cart",service="shop"`, `namespace="",route="",service=""`
	want := map[string]float64{
		`requests_total{code="200",method="GET",namespace="ns",protocol="HTTP/1.1",route="cart",service="shop"}`: 1,
		`requests_total{code="502",method="GET",namespace="ns",protocol="HTTP/1.1",route="cart",service="shop"}`: 1,
		`requests_total{code="502",method="GET",namespace="",protocol="HTTP/1.1",route="",service=""}`:           1,
		"request_duration_seconds_count{" + route + "}":                                                          2,
		"request_duration_seconds_count{" + none + "}":                                                           1,
		"upstream_request_duration_seconds_count{" + route + "}":                                                 2,
		"upstream_request_duration_seconds_count{" + none + "}":                                                  1,
		"request_bytes_total{" + route + "}":                                                                     24,
		"request_bytes_total{" + none + "}":                                                                      12,
		"response_bytes_total{" + route + "}":                                                                    6912,
		"response_bytes_total{" + none + "}":                                                                     3456,
		"retries_total{" + route + "}":                                                                           4,
		"retries_total{" + none + "}":                                                                            2,
		"open_connections{}":                                                                                     1,
		"connections_total{}":                                                                                    3,
		"active_requests{}":                                                                                      5,
		"trace_export_failures_total{}":                                                                          0,
		"rate_limit_store_errors_total{}":                                                                        0,
		"rate_limit_store_up{}":                                                                                  1,
		"open_tunnels{}":                                                                                         6,
		`rejected_connections_total{reason="too_many_connections"}`:                                              1,
		`local_responses_total{reason="connect_failed"}`:                                                         1,
		`aborted_responses_total{reason="upstream_truncated"}`:                                                   1,
		`upstream_errors_total{reason="connect_failed"}`:                                                         1,
		`upstream_ejections_total{reason="health_check"}`:                                                        1,
		`upstream_healthy{upstream="10.0.0.1:80"}`:                                                               1,
		`upstream_healthy{upstream="10.0.0.2:80"}`:                                                               0,
		`upstream_healthy{upstream="10.0.0.3:80"}`:                                                               0,
		`health_checks_total{result="success"}`:                                                                  1,
		`health_checks_total{result="failure"}`:                                                                  2,
		`config_reloads_total{result="success"}`:                                                                 1,
		`config_reloads_total{result="error"}`:                                                                   0,
		"config_stale{}":                                                                                         0,
		"config_last_reload_successful{}":                                                                        1,
		"access_log_dropped_total{}":                                                                             7,
		"access_log_write_errors_total{}":                                                                        1,
		"log_dropped_total{}":                                                                                    2,
		"accept_errors_total{}":                                                                                  1,
		"trace_spans_dropped_total{}":                                                                            9,
		"dns_names{}":                                                                                            3,
		"dns_names_failing{}":                                                                                    1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	m.Reload(errors.New("bad"))
	got = series(t, m)
	if got["config_last_reload_successful{}"] != 0 || got[`config_reloads_total{result="error"}`] != 1 {
		t.Error("a refused configuration does not show")
	}
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestHandler(t *testing.T) {
	m := NewMetrics("1.2.3")
	s := httptest.NewServer(m.Handler())
	defer s.Close()
	response, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"go_goroutines ", "process_resident_memory_bytes ", `version="1.2.3"`, "pingora_proxy_open_connections 0\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the answer", want)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	m := NewMetrics("test")
	route := m.Route("", "shop", "cart")
	random := rand.New(rand.NewPCG(1, 2))
	x := served()
	for range 100_000 {
		x.Request.Method = exchange.Method(random.UintN(256))
		x.Request.MethodName = fmt.Appendf(nil, "M%d", random.Uint64())
		x.Request.Protocol = exchange.Protocol(random.UintN(256))
		x.Request.Host = fmt.Appendf(nil, "%d.example", random.Uint64())
		x.Request.Path = fmt.Appendf(nil, "/%d", random.Uint64())
		x.Record.Status = random.IntN(1400) - 300
		x.Record.Reason = exchange.Reason(fmt.Sprint(random.Uint64()))
		x.Response.Local = random.UintN(2) == 0
		m.RejectConnection(x.Record.Reason)
		m.UpstreamError(x.Record.Reason)
		route.Observe(x)
		m.NoRoute().Observe(x)
	}
	all := series(t, m)
	if len(all) > 1000 {
		t.Errorf("%d series", len(all))
	}
	var requests, reasons float64
	for name, n := range all {
		if strings.HasPrefix(name, "requests_total{") {
			requests += n
		}
		if strings.HasPrefix(name, "upstream_errors_total{") {
			reasons += n
		}
	}
	if requests != 200_000 || reasons != 100_000 {
		t.Errorf("%v requests and %v reasons are counted", requests, reasons)
	}
	if all[`upstream_errors_total{reason="other"}`] == 0 {
		t.Error("nothing counts as other")
	}
}

func TestCodes(t *testing.T) {
	if len(codes.label) > maxCodeSlots {
		t.Fatalf("%d slots are needed", len(codes.label))
	}
	for _, c := range []struct {
		status      int
		label, more string // more: its class
	}{
		{200, "200", "2xx"},
		{101, "101", "1xx"},
		{499, "499", "4xx"},
		{299, "2xx", "2xx"},
		{599, "5xx", "5xx"},
		{306, "3xx", "3xx"},
		{100, "100", "1xx"},
		{99, "invalid", "invalid"},
		{600, "invalid", "invalid"},
		{0, "invalid", "invalid"},
		{-1, "invalid", "invalid"},
	} {
		slot, class := codeSlot(c.status)
		if class != 0 && c.more == "invalid" || codes.label[slot] != c.label || codes.label[class] != c.more {
			t.Errorf("%d is %s of %s", c.status, codes.label[slot], codes.label[class])
		}
	}
}

func TestManySeriesOfOneRouteCountAsOther(t *testing.T) {
	m := NewMetrics("test")
	r := m.Route("", "shop", "cart")
	x := served()
	for method := exchange.GET; method < exchange.MethodCount; method++ {
		for status := 200; status < 600; status++ {
			x.Request.Method, x.Record.Status = method, status
			r.Observe(x)
		}
	}
	x.Request.Method, x.Record.Status = exchange.GET, 200
	r.Observe(x)
	all := series(t, m)
	labels := `namespace="",protocol="HTTP/1.1",route="cart",service="shop"}`
	if n := all[`requests_total{code="200",method="GET",`+labels]; n != 2 {
		t.Errorf("a series that was there counts %v", n)
	}
	if n := all[`requests_total{code="5xx",method="OTHER",`+labels]; n == 0 {
		t.Error("what is too much is not counted by its class")
	}
}

func TestHistogramIsPrometheus(t *testing.T) {
	upper := make([]float64, len(bounds))
	for i, b := range bounds {
		upper[i] = b.Seconds()
	}
	reference := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + "request_duration_seconds", Buckets: upper,
		ConstLabels: prometheus.Labels{"namespace": "", "service": "s", "route": "r"},
	})
	m := NewMetrics("test")
	r := m.Route("", "s", "r")
	x := served()
	random := rand.New(rand.NewPCG(3, 4))
	durations := []time.Duration{0, time.Minute}
	for _, b := range bounds {
		durations = append(durations, b-1, b, b+1)
	}
	for range 5000 {
		durations = append(durations, time.Duration(random.ExpFloat64()*float64(20*time.Millisecond)))
	}
	for _, d := range durations {
		reference.Observe(d.Seconds())
		x.Record.Start, x.Record.End = 5, 5+exchange.Nanos(d)
		r.Observe(x)
	}
	theirs := prometheus.NewRegistry()
	theirs.MustRegister(reference)
	mine := prometheus.NewRegistry()
	mine.MustRegister(&collector{metrics: m, desc: describe()})
	got, err := mine.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want, err := theirs.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got {
		if f.GetName() != prefix+"request_duration_seconds" {
			continue
		}
		got, want := f.GetMetric()[0].GetHistogram(), want[0].GetMetric()[0].GetHistogram()
		if got.GetSampleCount() != want.GetSampleCount() {
			t.Errorf("count is %d, not %d", got.GetSampleCount(), want.GetSampleCount())
		}
		if d := got.GetSampleSum() - want.GetSampleSum(); math.Abs(d) > 1e-6*float64(len(durations)) {
			t.Errorf("sum is %v, not %v", got.GetSampleSum(), want.GetSampleSum())
		}
		if len(got.GetBucket()) != len(want.GetBucket()) {
			t.Fatalf("%d buckets, not %d", len(got.GetBucket()), len(want.GetBucket()))
		}
		for i, b := range want.GetBucket() {
			g := got.GetBucket()[i]
			if g.GetUpperBound() != b.GetUpperBound() || g.GetCumulativeCount() != b.GetCumulativeCount() {
				t.Errorf("bucket %v: %d, not %v: %d", g.GetUpperBound(), g.GetCumulativeCount(), b.GetUpperBound(), b.GetCumulativeCount())
			}
		}
		return
	}
	t.Fatal("no histogram")
}

func TestTunnelsAreNotDurations(t *testing.T) {
	m := NewMetrics("test")
	r := m.Route("", "s", "r")
	x := served()
	x.Record.Status = http.StatusSwitchingProtocols
	r.Observe(x)
	for name := range series(t, m) {
		if strings.HasPrefix(name, "request_duration_seconds") {
			t.Error(name)
		}
	}
}

func TestRoutesSurviveReloads(t *testing.T) {
	m := NewMetrics("test")
	now := exchange.Nanos(1)
	m.now = func() exchange.Nanos { return now }
	has := func(route string) bool {
		for name := range series(t, m) {
			if strings.HasPrefix(name, "requests_total{") && strings.Contains(name, fmt.Sprintf("route=%q", route)) {
				return true
			}
		}
		return false
	}
	a, b := m.Route("", "s", "a"), m.Route("", "s", "b")
	a.Observe(served())
	b.Observe(served())
	m.NoRoute().Observe(served())
	m.ReplaceRoutes([]*RouteMetrics{a, b}, nil)
	if m.Route("", "s", "a") != a {
		t.Fatal("a reload has made new counters")
	}
	m.ReplaceRoutes([]*RouteMetrics{a}, []*RouteMetrics{a, b})
	now += goneGrace
	if !has("a") || !has("b") {
		t.Error("a scrape behind the removal does not see the last values")
	}
	now++
	if !has("a") || has("b") || !has("") {
		t.Error("the wrong series are gone")
	}
	if m.Route("", "s", "b") == b {
		t.Error("what was forgotten is still there")
	}

	m.ReplaceRoutes([]*RouteMetrics{a}, nil) // a second route that counts there
	m.ReplaceRoutes(nil, []*RouteMetrics{a})
	now += 2 * goneGrace
	if !has("a") {
		t.Error("the series of one of two routes went with the other")
	}

	m.ReplaceRoutes(nil, []*RouteMetrics{a})
	again := m.Route("", "s", "a")
	m.ReplaceRoutes([]*RouteMetrics{again}, nil)
	now += 2 * goneGrace
	if again != a || !has("a") {
		t.Error("a route that came back in time has lost its counters")
	}
}

func TestRemovedRoutesAreBounded(t *testing.T) {
	m := NewMetrics("test")
	now := exchange.Nanos(1)
	m.now = func() exchange.Nanos { now++; return now }
	var before []*RouteMetrics
	for i := range 1000 {
		now := []*RouteMetrics{m.Route("", "s", fmt.Sprint(i))}
		now[0].Observe(served())
		m.ReplaceRoutes(now, before)
		before = now
	}
	if n := len(m.liveRoutes()); n != maxGone+2 { // and no_route, and the one that lives
		t.Errorf("%d routes are kept", n)
	}
	if newest := m.Route("", "s", "998"); newest.cells == 0 {
		t.Error("the route that went last was forgotten")
	}
}

func TestObserveAtOnce(t *testing.T) {
	m := NewMetrics("test")
	r := m.Route("", "s", "r")
	const each = 2000
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			x := served()
			for i := range each {
				x.Request.Method = exchange.Method(i % int(exchange.MethodCount))
				x.Record.Status = 200 + i%50
				x.Answer(502, exchange.Reason(fmt.Sprint("reason", (i+g)%5)))
				r.Observe(x)
			}
		})
	}
	for range 20 {
		series(t, m)
	}
	wait.Wait()
	var requests, local float64
	for name, n := range series(t, m) {
		if strings.HasPrefix(name, "requests_total{") {
			requests += n
		}
		if strings.HasPrefix(name, "local_responses_total{") {
			local += n
		}
	}
	if requests != 8*each || local != 8*each {
		t.Errorf("%v requests, %v local answers", requests, local)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	m := NewMetrics("test")
	r := m.Route("", "s", "r")
	x := served()
	x.Answer(502, exchange.ConnectFailed)
	if n := testing.AllocsPerRun(1000, func() { r.Observe(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	r := NewMetrics("test").Route("", "s", "r")
	x := served()
	b.ReportAllocs()
	for b.Loop() {
		r.Observe(x)
	}
}

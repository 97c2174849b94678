package reliability

import (
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var redisGone = scenario{
	name:  "redis",
	title: "the Redis of shared rate limits",
	run: func(t *testing.T, r *run) {
		for _, c := range []struct {
			what       string
			begin, end func(t *testing.T, server *faulty.Redis)
		}{
			{
				"is killed, and started again",
				func(_ *testing.T, server *faulty.Redis) { server.Kill() },
				func(t *testing.T, server *faulty.Redis) { server.Start(t) },
			},
			{
				"hangs (SIGSTOP), and goes on",
				func(t *testing.T, server *faulty.Redis) { server.Signal(t, syscall.SIGSTOP) },
				func(t *testing.T, server *faulty.Redis) { server.Signal(t, syscall.SIGCONT) },
			},
		} {
			r.part(t, c.what, func(t *testing.T) {
				server := faulty.NewRedis(t, "")
				server.Start(t)
				trouble{
					what: c.what, requests: r.of(1500, 100_000), rate: r.of(400, 2000),
					globals: fmt.Sprintf("rate_limit_store: {redis_url: 'redis://%s', timeout_ms: 200}", server.Address),
					service: "    rate_limits: [{name: all, requests: 1000000, period_secs: 1, scope: Shared}]\n",
					begin: func(t *testing.T, p *harness.Proxy) {
						p.AwaitMetric(t, 1, "rate_limit_store_up")
						c.begin(t, server)
					},
					shows: func(t *testing.T, o *observer) string {
						o.said(t, "the store of shared limits is away")
						o.AwaitMetric(t, 0, "rate_limit_store_up")
						unanswered := o.awaits(t, "rate_limit_store_errors_total", 0)
						usual, slowest := paced(t, o.Proxy, r.of(300, 3000))
						return fmt.Sprintf("%.0f requests counted locally so far; a request now takes %v, the slowest one %v", unanswered,
							usual.Round(10*time.Microsecond), slowest.Round(10*time.Microsecond))
					},
					end: func(t *testing.T, _ *harness.Proxy) { c.end(t, server) },
					passed: func(t *testing.T, o *observer) {
						o.AwaitMetric(t, 1, "rate_limit_store_up")
						o.said(t, "the store of shared limits answers again")
					},
				}.reports(t, r)
			})
		}
	},
}

// paced sends requests one after the other, and returns the median of how long they take, and the most.
func paced(t *testing.T, p *harness.Proxy, requests int) (median, most time.Duration) {
	t.Helper()
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := p.URL(t, "web") + "/check"
	var took durations
	for range requests {
		began := time.Now()
		response, err := client.Get(url) //nolint:noctx // the client has a time-out
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		took = append(took, time.Since(began))
	}
	return took.percentile(50), took.percentile(100)
}

var collectorGone = scenario{
	name:  "collector",
	title: "the collector of traces (OTLP)",
	run: func(t *testing.T, r *run) {
		for _, c := range []struct {
			what  string
			hangs bool
		}{{"is gone, and comes back", false}, {"takes connections and answers nothing, and goes on", true}} {
			r.part(t, c.what, func(t *testing.T) {
				made := newCollector(t)
				made.answers.Store(true)
				made.open(t)
				trouble{
					what: c.what, requests: r.of(4000, 100_000), rate: r.of(800, 2000),
					globals: fmt.Sprintf("tracing: {otlp_endpoint: 'http://%s/v1/traces', sample_percent: 100}", made.address),
					begin: func(t *testing.T, _ *harness.Proxy) {
						harness.Eventually(t, "spans arrive", func() bool { return made.batches.Load() > 0 })
						made.answers.Store(false)
						if !c.hangs {
							made.close()
						}
					},
					shows: func(t *testing.T, o *observer) string {
						lost := o.awaits(t, "trace_export_failures_total", 0)
						o.said(t, "spans cannot be sent to the collector")
						return fmt.Sprintf("%.0f batches failed, %.0f spans dropped and counted; said in the log", lost, o.awaits(t, "trace_spans_dropped_total", 0))
					},
					end: func(t *testing.T, _ *harness.Proxy) {
						if !c.hangs {
							made.open(t)
						}
						made.answers.Store(true)
					},
					passed: func(t *testing.T, o *observer) { o.said(t, "spans are sent to the collector again") },
				}.reports(t, r)
			})
		}
	},
}

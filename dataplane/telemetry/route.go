package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	protocolCount = int(exchange.HTTP2) + 1 // 0 is a request whose protocol was not understood
	maxCodeSlots  = 80
	// maxCells bounds how many series of requests_total a route has: an origin that echoes any status, asked with every
	// method, must not multiply them. What comes later is counted as method OTHER with the class of its code (4xx).
	maxCells = 192
)

// codes maps a status to its slot and a slot to its label: a slot for each registered status and for 499, one for each
// class, which stands for the unregistered ones (4xx), and one for what is no status at all.
var codes = func() (t struct {
	slot  [600]uint8 // 0 is no status
	label []string
},
) {
	t.label = append(t.label, "invalid", "1xx", "2xx", "3xx", "4xx", "5xx")
	for code := 100; code < 600; code++ {
		t.slot[code] = uint8(code / 100)
		if http.StatusText(code) != "" || code == 499 {
			t.slot[code] = uint8(len(t.label))
			t.label = append(t.label, strconv.Itoa(code))
		}
	}
	return t
}()

// codeSlot returns the slot of a status and that of its class.
func codeSlot(status int) (slot, class int) {
	if uint(status) >= uint(len(codes.slot)) {
		return 0, 0
	}
	return int(codes.slot[status]), status / 100
}

// A codeRow counts the requests of one method and protocol by their status. Exactly len(codes.label) slots are used.
type codeRow [maxCodeSlots]atomic.Uint64

type routeKey struct{ namespace, service, route string }

// RouteMetrics are the counters of one route. They are resolved when a configuration is applied, so that a request looks
// nothing up. A route that stays in the configuration keeps them.
type RouteMetrics struct {
	metrics *Metrics
	key     routeKey
	users   int // routes of the configuration. Guarded by metrics.mu

	mu    sync.Mutex // guards cells and the making of rows
	cells int        // how many counters are not 0, up to maxCells
	rows  [protocolCount][exchange.MethodCount]atomic.Pointer[codeRow]

	duration histogram
	upstream histogram
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	retries  atomic.Uint64
}

// Observe counts a finished exchange: x.Record is complete. It neither locks nor allocates, but for the first request of
// a method, protocol and status.
func (r *RouteMetrics) Observe(x *exchange.Exchange) {
	rec := &x.Record
	protocol, method := int(x.Request.Protocol), int(x.Request.Method)
	if protocol >= protocolCount {
		protocol = 0
	}
	if method >= int(exchange.MethodCount) {
		method = int(exchange.MethodOther)
	}
	slot, class := codeSlot(rec.Status)
	if row := r.rows[protocol][method].Load(); row != nil && row[slot].Load() != 0 {
		row[slot].Add(1)
	} else {
		r.first(protocol, method, slot, class)
	}

	if rec.Status != http.StatusSwitchingProtocols { // how long a tunnel is open says nothing of how fast we are
		r.duration.observeTraced(rec.End-rec.Start, rec.TraceID)
	}
	if rec.UpstreamHead != 0 {
		r.upstream.observeTraced(rec.UpstreamHead-rec.UpstreamStart, rec.TraceID)
	}
	if rec.BytesIn > 0 {
		r.bytesIn.Add(uint64(rec.BytesIn))
	}
	if rec.BytesOut > 0 {
		r.bytesOut.Add(uint64(rec.BytesOut))
	}
	if rec.Attempts > 1 {
		r.retries.Add(uint64(rec.Attempts - 1))
	}
	if rec.Reason != "" {
		if x.Response.Local {
			r.metrics.localResponses.inc(string(rec.Reason))
		} else {
			r.metrics.abortedResponses.inc(string(rec.Reason))
		}
	}
}

// first counts a request whose counter may still be 0, and so may become a new series.
func (r *RouteMetrics) first(protocol, method, slot, class int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cells >= maxCells {
		if row := r.rows[protocol][method].Load(); row == nil || row[slot].Load() == 0 {
			method, slot = int(exchange.MethodOther), class
		}
	}
	row := r.rows[protocol][method].Load()
	if row == nil {
		row = new(codeRow)
		r.rows[protocol][method].Store(row)
	}
	if row[slot].Add(1) == 1 {
		r.cells++
	}
}

func (r *RouteMetrics) collect(ch chan<- prometheus.Metric, d *descriptions) {
	k := r.key
	var total uint64
	for protocol := range r.rows {
		for method := range r.rows[protocol] {
			row := r.rows[protocol][method].Load()
			if row == nil {
				continue
			}
			for slot, label := range codes.label {
				n := row[slot].Load()
				if n == 0 {
					continue
				}
				total += n
				ch <- prometheus.MustNewConstMetric(d.requests, prometheus.CounterValue, float64(n), k.namespace, k.service,
					k.route, exchange.Method(method).String(), label, exchange.Protocol(protocol).String())
			}
		}
	}
	if total == 0 {
		return
	}
	r.duration.collect(ch, d.duration, k.namespace, k.service, k.route)
	r.upstream.collect(ch, d.upstreamDuration, k.namespace, k.service, k.route)
	for _, c := range []struct {
		desc *prometheus.Desc
		n    *atomic.Uint64
	}{{d.requestBytes, &r.bytesIn}, {d.responseBytes, &r.bytesOut}, {d.retries, &r.retries}} {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.n.Load()), k.namespace, k.service, k.route)
	}
}

package telemetry

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// TestNativeBucketsHoldTheirDurations: bucket i ends at 2^(i/4) seconds, inclusive, and begins where the one before ends.
func TestNativeBucketsHoldTheirDurations(t *testing.T) {
	for d := exchange.Nanos(1000); d < exchange.Nanos(100*time.Second); d += d/7 + 1 {
		i := nativeIndex(d)
		seconds := float64(d) / 1e9
		upper, lower := math.Exp2(float64(i)/4), math.Exp2(float64(i-1)/4)
		if seconds > upper*(1+1e-12) || seconds <= lower*(1-1e-12) {
			t.Errorf("%v s is in the bucket from %v to %v", seconds, lower, upper)
		}
	}
	for d, want := range map[exchange.Nanos]int{0: nativeFirst, 1: nativeFirst, 1e9: 0, 5e8: -4, exchange.Nanos(time.Hour): nativeLast} {
		if i := nativeIndex(d); i != want {
			t.Errorf("%d ns is in bucket %d, want %d", d, i, want)
		}
	}
}

// TestBothKindsAgree: the classic buckets and the native ones count the same observations, and traced ones are examples.
func TestBothKindsAgree(t *testing.T) {
	var h histogram
	trace := [16]byte{1, 2, 3}
	h.observe(exchange.Nanos(300 * time.Microsecond))
	h.observe(exchange.Nanos(300 * time.Microsecond))
	h.observe(exchange.Nanos(7 * time.Millisecond))
	h.observeTraced(exchange.Nanos(7*time.Millisecond), trace)
	h.observeTraced(exchange.Nanos(70*time.Second), trace)
	ch := make(chan prometheus.Metric, 1)
	h.collect(ch, prometheus.NewDesc("d", "help", []string{"route"}, nil), "r")
	var m dto.Metric
	if err := (<-ch).Write(&m); err != nil {
		t.Fatal(err)
	}
	g := m.GetHistogram()
	var native, at int64
	for _, delta := range g.GetPositiveDelta() {
		at += delta
		native += at
	}
	var length uint32
	for _, span := range g.GetPositiveSpan() {
		length += span.GetLength()
	}
	if g.GetSampleCount() != 5 || native != 5 || int(length) != len(g.GetPositiveDelta()) || m.GetLabel()[0].GetValue() != "r" {
		t.Errorf("%v", &m)
	}
	examples := map[float64]string{}
	for _, b := range g.GetBucket() {
		if e := b.GetExemplar(); e != nil {
			examples[b.GetUpperBound()] = e.GetLabel()[0].GetValue()
		}
	}
	const id = "01020300000000000000000000000000"
	if len(examples) != 2 || examples[0.01] != id || examples[math.Inf(1)] != id {
		t.Errorf("the examples are %v", examples)
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h histogram
	b.ReportAllocs()
	for b.Loop() {
		h.observe(exchange.Nanos(300 * time.Microsecond))
	}
}

package telemetry

import (
	"encoding/hex"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// bounds are the upper, inclusive bounds of the classic buckets; what is slower than the last falls into +Inf.
var bounds = [...]time.Duration{
	500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// The native buckets: 2^(1/4) apart, which is the schema 2 of Prometheus, from 1 µs to 2 minutes. The first one takes what
// is shorter, the last what is longer.
const (
	nativeSchema = 2
	nativeFirst  = -20 << nativeSchema // 2^-20 s
	nativeLast   = 7 << nativeSchema   // 2^7 s
)

type nativeBuckets [nativeLast - nativeFirst + 1]atomic.Uint64

// nativeSteps are the bounds within one power of two, for fractions from 0.5 to 1.
var nativeSteps = [1 << nativeSchema]float64{0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144}

// nativeIndex is the index of the native bucket of a duration: bucket i ends at 2^(i/4) seconds, inclusive.
func nativeIndex(d exchange.Nanos) int {
	if d <= 0 {
		return nativeFirst
	}
	fraction, exponent := math.Frexp(float64(d) / 1e9)
	i := 0
	for i < len(nativeSteps) && nativeSteps[i] < fraction {
		i++
	}
	return min(max(i+(exponent-1)<<nativeSchema, nativeFirst), nativeLast)
}

// A histogram counts durations in classic and in native buckets. The client library's own costs two to three times as much
// per observation, and more when several cores observe at once.
type histogram struct {
	counts atomic.Pointer[counts] // nil before the first observation: a route that nobody asks for costs no memory
}

// The counts of a histogram.
type counts struct {
	buckets   [len(bounds) + 1]atomic.Uint64
	micros    atomic.Uint64 // the sum: nanoseconds would overflow after 584 years, which 10,000 open requests reach in 21 days
	native    nativeBuckets
	exemplars [len(bounds) + 1]atomic.Pointer[exemplar]
}

// An exemplar is a request that was traced, as an example for its bucket.
type exemplar struct {
	trace [16]byte
	value float64
	at    time.Time
}

// observe counts d; what is negative counts as 0.
func (h *histogram) observe(d exchange.Nanos) int {
	d = max(d, 0)
	i := bucketOf(d)
	c := h.counts.Load()
	if c == nil {
		c = new(counts)
		if !h.counts.CompareAndSwap(nil, c) {
			c = h.counts.Load()
		}
	}
	c.buckets[i].Add(1)
	c.micros.Add(uint64(d) / 1000)
	c.native[nativeIndex(d)-nativeFirst].Add(1)
	return i
}

// observeTraced is observe for a request that may be traced.
func (h *histogram) observeTraced(d exchange.Nanos, trace [16]byte) {
	i := h.observe(d)
	if trace != ([16]byte{}) {
		h.counts.Load().exemplars[i].Store(&exemplar{trace: trace, value: time.Duration(max(d, 0)).Seconds(), at: time.Now()})
	}
}

// collect sends the histogram; one without an observation is left out.
func (h *histogram) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, labels ...string) {
	if c := h.counts.Load(); c != nil {
		ch <- &sample{counts: c, desc: desc, labels: labels}
	}
}

// latency returns what was counted.
func (h *histogram) latency() Latency {
	c := h.counts.Load()
	if c == nil {
		return Latency{}
	}
	return latencyOf(&c.buckets)
}

// A sample is a histogram at a scrape. The client library has no metric that is made elsewhere and holds classic buckets,
// native ones and exemplars.
type sample struct {
	*counts
	desc   *prometheus.Desc
	labels []string
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	histogram := &dto.Histogram{
		SampleSum: proto.Float64(float64(s.micros.Load()) / 1e6), Schema: proto.Int32(nativeSchema),
		ZeroThreshold: proto.Float64(0), ZeroCount: proto.Uint64(0),
	}
	var count uint64
	for i := range s.buckets {
		count += s.buckets[i].Load()
		bound := math.Inf(1)
		if i < len(bounds) {
			bound = bounds[i].Seconds()
		}
		bucket := &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(count)}
		if e := s.exemplars[i].Load(); e != nil {
			bucket.Exemplar = &dto.Exemplar{
				Label: []*dto.LabelPair{{Name: proto.String("trace_id"), Value: proto.String(hex.EncodeToString(e.trace[:]))}},
				Value: proto.Float64(e.value), Timestamp: timestamppb.New(e.at),
			}
		}
		if i < len(bounds) || bucket.Exemplar != nil { // the bucket of +Inf is the count, unless it has an example
			histogram.Bucket = append(histogram.Bucket, bucket)
		}
	}
	histogram.SampleCount = proto.Uint64(count)
	s.spans(histogram)
	out.Histogram = histogram
	out.Label = prometheus.MakeLabelPairs(s.desc, s.labels)
	return nil
}

// spans writes the native buckets that are not empty: runs of them, with the difference of each count to the one before.
func (s *sample) spans(out *dto.Histogram) {
	next := int32(0) // the index behind the last bucket
	before := int64(0)
	for i := range s.native {
		n := int64(s.native[i].Load())
		if n == 0 {
			continue
		}
		index := int32(i + nativeFirst)
		if len(out.PositiveSpan) == 0 || index != next {
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(index - next), Length: proto.Uint32(0)})
		}
		last := out.PositiveSpan[len(out.PositiveSpan)-1]
		last.Length = proto.Uint32(last.GetLength() + 1)
		out.PositiveDelta = append(out.PositiveDelta, n-before)
		before, next = n, index+1
	}
}

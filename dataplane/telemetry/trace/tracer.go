package trace

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"
)

const (
	// patience is how long the collector may take for a batch.
	patience = 5 * time.Second
	// farewell is how long the last spans of a pipeline may take: a process that stops does not wait for longer.
	farewell = time.Second
	// maxWaiting spans wait for the collector; more are dropped and counted.
	maxWaiting = 8192
	scope      = "github.com/pingora-proxy/pingora-proxy"
)

// A Config says which spans go where. It has the fields of snapshot.Tracing and is converted from it.
type Config struct {
	Endpoint      string // of the collector; empty: no tracing
	HTTP          bool   // OTLP over HTTP, not gRPC
	SamplePercent float64
	W3C, B3       bool   // the fields that endpoints get
	CA            []byte // PEM; empty: the system's
}

func (c *Config) equal(o *Config) bool {
	return c.Endpoint == o.Endpoint && c.HTTP == o.HTTP && c.SamplePercent == o.SamplePercent && c.W3C == o.W3C && c.B3 == o.B3 &&
		bytes.Equal(c.CA, o.CA)
}

// A Tracer makes spans, or none while it is off.
type Tracer struct {
	log     logr.Logger
	version string
	metrics Metrics
	current atomic.Pointer[pipeline]

	mu      sync.Mutex // guards what follows
	config  Config
	leaving sync.WaitGroup
}

// A pipeline is what one configuration needs.
type pipeline struct {
	provider *sdk.TracerProvider
	tracer   oteltrace.Tracer
	sample   uint64 // of 2^32 requests without a parent's decision
	w3c, b3  bool
}

// Metrics are what a Tracer tells of itself.
type Metrics interface {
	// SpansLost counts a batch of spans that could not be sent.
	SpansLost()
	// SpansDropped counts spans that no collector has got: those of such batches, and those that found too many waiting.
	SpansDropped(n int)
}

// New returns a Tracer that is off. metrics may be nil.
func New(log logr.Logger, version string, metrics Metrics) *Tracer {
	if metrics == nil {
		metrics = nobody{}
	}
	return &Tracer{log: log, version: version, metrics: metrics}
}

type nobody struct{}

func (nobody) SpansLost()       {}
func (nobody) SpansDropped(int) {}

// Apply makes the tracer follow a configuration. Spans that are open are sent where they would have gone. With an error
// nothing has changed.
func (t *Tracer) Apply(c Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.config.equal(&c) {
		return nil
	}
	var next *pipeline
	if c.Endpoint != "" {
		var err error
		if next, err = t.open(&c); err != nil {
			return fmt.Errorf("tracing: %w", err)
		}
	}
	t.config = c
	t.swap(next)
	return nil
}

// swap makes next the pipeline, and lets the one before it end in the background. The caller holds t.mu.
func (t *Tracer) swap(next *pipeline) {
	old := t.current.Swap(next)
	if old == nil {
		return
	}
	t.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		if err := old.provider.Shutdown(ctx); err != nil {
			t.log.Error(err, "the last spans could not be sent")
		}
	})
}

// Close sends what is waiting, if that takes no more than a second, and ends.
func (t *Tracer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.config = Config{}
	t.swap(nil)
	t.leaving.Wait()
}

func (t *Tracer) open(c *Config) (*pipeline, error) {
	exporter, err := newExporter(c)
	if err != nil {
		return nil, err
	}
	w := &watched{SpanExporter: exporter, tracer: t}
	queue := sdk.NewBatchSpanProcessor(w, sdk.WithMaxQueueSize(maxWaiting), sdk.WithBatchTimeout(time.Second), sdk.WithExportTimeout(patience))
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), // Begin has decided
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "pingora-proxy"), attribute.String("service.version", t.version),
		)),
		sdk.WithSpanProcessor(&entrance{SpanProcessor: queue, watched: w}),
	)
	return &pipeline{
		provider: provider, tracer: provider.Tracer(scope, oteltrace.WithInstrumentationVersion(t.version)),
		sample: uint64(c.SamplePercent / 100 * (1 << 32)), w3c: c.W3C, b3: c.B3,
	}, nil
}

func newExporter(c *Config) (*otlptrace.Exporter, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("ca_ref holds no certificate")
		}
	}
	if c.HTTP {
		options := []otlptracehttp.Option{otlptracehttp.WithEndpoint(u.Host), otlptracehttp.WithTimeout(patience), otlptracehttp.WithTLSClientConfig(config)}
		if u.Scheme == "http" {
			options = append(options, otlptracehttp.WithInsecure())
		}
		if path := strings.TrimRight(u.Path, "/"); path != "" {
			options = append(options, otlptracehttp.WithURLPath(path))
		}
		return otlptrace.NewUnstarted(otlptracehttp.NewClient(options...)), nil
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host), otlptracegrpc.WithTimeout(patience)}
	if u.Scheme == "http" {
		options = append(options, otlptracegrpc.WithInsecure())
	} else {
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)))
	}
	client := otlptracegrpc.NewClient(options...)
	exporter := otlptrace.NewUnstarted(client)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return exporter, exporter.Start(ctx) // it opens no connection yet
}

// watched says when spans cannot be sent, once, and when they can again.
type watched struct {
	sdk.SpanExporter
	tracer  *Tracer
	broken  atomic.Bool
	waiting atomic.Int64 // spans that have ended and were not handed to the exporter
}

// ExportSpans implements sdk.SpanExporter. The error ends here: the library would only print it.
func (w *watched) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	w.waiting.Add(-int64(len(spans)))
	err := w.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		w.tracer.metrics.SpansLost()
		w.tracer.metrics.SpansDropped(len(spans))
	}
	if broken := err != nil; w.broken.Swap(broken) != broken {
		if broken {
			w.tracer.log.Error(err, "spans cannot be sent to the collector; they are dropped until it answers")
		} else {
			w.tracer.log.Info("spans are sent to the collector again")
		}
	}
	return nil
}

// An entrance lets spans into the queue for the collector while there is room. The library's queue has the same bound, but
// does not say how many it drops.
type entrance struct {
	sdk.SpanProcessor
	watched *watched
}

// OnEnd implements sdk.SpanProcessor.
func (e *entrance) OnEnd(span sdk.ReadOnlySpan) {
	if e.watched.waiting.Add(1) > maxWaiting {
		e.watched.waiting.Add(-1)
		e.watched.tracer.metrics.SpansDropped(1)
		return
	}
	e.SpanProcessor.OnEnd(span)
}

// sampled decides for a request without a parent's decision.
func (p *pipeline) sampled() bool { return uint64(rand.Uint32()) < p.sample }

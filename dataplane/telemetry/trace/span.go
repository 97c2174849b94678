package trace

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// An exchangeTrace is the spans of one exchange. The attributes are those of OpenTelemetry's semantic conventions for HTTP,
// version 1.37.
type exchangeTrace struct {
	pipeline *pipeline
	ctx      context.Context //nolint:containedctx // it holds the server span, as the library wants it
	server   oteltrace.Span
	attempt  oteltrace.Span // of the try that runs; nil: none does
	wall     time.Time      // the clock on the wall when it began
	begun    exchange.Nanos // the same moment
}

// at is when something happened. All times of an exchange follow from one look at the wall: while it runs that clock may jump,
// and a span must not take hours, or end before it begins.
func (e *exchangeTrace) at(n exchange.Nanos) time.Time { return e.wall.Add(time.Duration(n - e.begun)) }

// Begin starts the server span of a request that is to be traced, once its head was read. x.Trace stays nil for others, and
// the fields of their parents stay as they are.
func (t *Tracer) Begin(x *exchange.Exchange) {
	p := t.current.Load()
	if p == nil {
		return
	}
	from, found := read(&x.Request.Header)
	if from.decided && !from.sampled || !from.decided && !p.sampled() {
		return
	}
	ctx := context.Background()
	if found {
		ctx = oteltrace.ContextWithRemoteSpanContext(ctx, oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: from.trace, SpanID: from.span, TraceFlags: oteltrace.FlagsSampled, Remote: true,
		}))
	}
	e := &exchangeTrace{pipeline: p, wall: time.Now(), begun: exchange.Now()}
	e.ctx, e.server = p.tracer.Start(ctx, x.Request.Method.String(),
		oteltrace.WithSpanKind(oteltrace.SpanKindServer), oteltrace.WithTimestamp(e.at(x.Record.Start)))
	x.Record.TraceID = e.server.SpanContext().TraceID()
	x.Trace = e
}

// Attempt implements exchange.Trace.
func (e *exchangeTrace) Attempt(x *exchange.Exchange) {
	r := &x.Request
	_, e.attempt = e.pipeline.tracer.Start(e.ctx, r.Method.String(),
		oteltrace.WithSpanKind(oteltrace.SpanKindClient), oteltrace.WithTimestamp(e.at(x.Record.UpstreamStart)))
	if x.Record.Attempts > 1 {
		e.attempt.SetAttributes(attribute.Int("http.request.resend_count", x.Record.Attempts-1))
	}
	write(&r.Header, e.attempt.SpanContext(), e.pipeline.w3c, e.pipeline.b3)
}

// Attempted implements exchange.Trace.
func (e *exchangeTrace) Attempted(x *exchange.Exchange, failure *exchange.Failure) {
	r := &x.Request
	peer := x.Record.Upstream
	e.attempt.SetAttributes(
		attribute.String("http.request.method", r.Method.String()),
		attribute.String("url.full", "http://"+string(r.Host)+string(r.Path)), // the query may hold secrets
		attribute.String("server.address", peer.Addr().String()), attribute.Int("server.port", int(peer.Port())),
		attribute.String("network.peer.address", peer.Addr().String()), attribute.Int("network.peer.port", int(peer.Port())),
	)
	switch status := x.Response.Status; {
	case failure != nil:
		e.attempt.SetAttributes(attribute.String("error.type", string(failure.Reason)))
		e.attempt.SetStatus(codes.Error, string(failure.Reason))
	default:
		e.attempt.SetAttributes(attribute.Int("http.response.status_code", status), attribute.String("network.protocol.version", version(x.Response.Protocol)))
		if status >= 400 {
			e.attempt.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
			e.attempt.SetStatus(codes.Error, "")
		}
	}
	e.attempt.End(oteltrace.WithTimestamp(e.at(x.Record.UpstreamHead)))
	e.attempt = nil
}

// Done implements exchange.Trace.
func (e *exchangeTrace) Done(x *exchange.Exchange) {
	r, rec := &x.Request, &x.Record
	host, path := rec.Host, rec.Path
	if path == nil {
		host, path = r.Host, r.RawPath
	}
	name := r.Method.String()
	if rec.Route != "" {
		name += " " + rec.Service + "/" + rec.Route
	}
	e.server.SetName(name)
	scheme := "http"
	if x.Conn.Secure {
		scheme = "https"
	}
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", r.Method.String()),
		attribute.String("url.path", text(path)), attribute.String("url.scheme", scheme),
		attribute.String("network.protocol.version", version(r.Protocol)),
		attribute.String("client.address", x.ClientIP.String()),
		attribute.String("network.peer.address", x.Conn.Remote.Addr().Unmap().String()), attribute.Int("network.peer.port", int(x.Conn.Remote.Port())),
		attribute.Int("http.response.status_code", rec.Status),
		attribute.String("pingora_proxy.namespace", rec.Namespace), attribute.String("pingora_proxy.service", rec.Service),
		attribute.String("pingora_proxy.route", rec.Route), attribute.String("pingora_proxy.request_id", text(x.RequestID)),
	}
	if r.Method == exchange.MethodOther {
		attributes = append(attributes, attribute.String("http.request.method_original", text(r.MethodName)))
	}
	if name, port, err := net.SplitHostPort(string(host)); err == nil {
		number, _ := strconv.Atoi(port)
		attributes = append(attributes, attribute.String("server.address", text(name)), attribute.Int("server.port", number))
	} else if len(host) > 0 {
		attributes = append(attributes, attribute.String("server.address", text(host)))
	}
	if agent := r.Header.Value(exchange.UserAgent); agent != nil {
		attributes = append(attributes, attribute.String("user_agent.original", text(agent)))
	}
	if rec.Reason != "" {
		attributes = append(attributes, attribute.String("pingora_proxy.reason", string(rec.Reason)))
	}
	if rec.Status >= 500 {
		kind := string(rec.Reason)
		if kind == "" {
			kind = strconv.Itoa(rec.Status)
		}
		attributes = append(attributes, attribute.String("error.type", kind))
		e.server.SetStatus(codes.Error, kind)
	}
	e.server.SetAttributes(attributes...)
	e.server.End(oteltrace.WithTimestamp(e.at(rec.End)))
}

// text is what a client has sent, as valid UTF-8: one bad byte would lose a whole batch.
func text[T ~string | ~[]byte](s T) string { return strings.ToValidUTF8(string(s), "\uFFFD") }

func version(p exchange.Protocol) string {
	switch p {
	case exchange.HTTP10:
		return "1.0"
	case exchange.HTTP2:
		return "2"
	}
	return "1.1"
}

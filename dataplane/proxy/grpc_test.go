package proxy

import (
	"slices"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// TestGRPCAnswers goes by doc/http-grpc-status-mapping.md of gRPC.
func TestGRPCAnswers(t *testing.T) {
	for status, want := range map[int]string{
		400: "13", 401: "16", 403: "7", 404: "12", 429: "14", 502: "14", 503: "14", 504: "14", 500: "2", 408: "2", 413: "2",
	} {
		x, d := newExchange("192.0.2.1", "Content-Type: application/grpc+proto")
		x.Answer(status, exchange.NoRoute)
		x.Response.Header.Add("Retry-After", "1")
		finishResponse(x, &Configuration{})
		if err := d.Respond(x); err != nil {
			t.Fatal(err)
		}
		fields := []string{
			"Cache-Control: no-store", "Content-Type: application/grpc", "Grpc-Message: no_route", "Grpc-Status: " + want, "Retry-After: 1",
			"X-Request-Id: ",
		}
		if d.status != 200 || d.body != "" || x.Response.ContentLength != 0 || !slices.Equal(d.fields, fields) {
			t.Errorf("%d: %d %q %q", status, d.status, d.fields, d.body)
		}
	}
}

func TestOtherAnswersAreNotGRPC(t *testing.T) {
	x, _ := newExchange("192.0.2.1", "Content-Type: application/grpc-web")
	x.Answer(503, exchange.NoHealthyUpstream)
	finishResponse(x, &Configuration{})
	if x.Response.Status != 503 || x.Response.Body == nil {
		t.Errorf("%+v", x.Response)
	}
	x, _ = newExchange("192.0.2.1", "Content-Type: application/grpc") // an endpoint's own
	x.Response.Status = 503
	finishResponse(x, &Configuration{})
	if x.Response.Status != 503 {
		t.Errorf("%+v", x.Response)
	}
	x, _ = newExchange("192.0.2.1", "Content-Type: application/grpc")
	x.Response.Status, x.Response.Local = statusClientGone, true
	finishResponse(x, &Configuration{})
	if x.Response.Status != statusClientGone {
		t.Errorf("%+v", x.Response)
	}
}

package proxy

import (
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// The statuses of gRPC that the proxy's own answers have.
const (
	grpcUnknown          = 2
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// grpcStatus is what a status of HTTP is in gRPC (doc/http-grpc-status-mapping.md of gRPC).
func grpcStatus(status int) int {
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404:
		return grpcUnimplemented
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

// speakGRPC makes the proxy's own answer to a call of gRPC one that its clients understand: the response without a body that
// gRPC calls Trailers-Only. What else the answer says, such as Retry-After, stays.
func speakGRPC(x *exchange.Exchange) {
	r := &x.Response
	if r.Status == 101 || r.Status == statusClientGone || !exchange.IsGRPC(&x.Request.Header) {
		return
	}
	status := grpcStatus(r.Status)
	message := string(x.Record.Reason)
	if message == "" {
		message = "status " + strconv.Itoa(r.Status)
	}
	r.Status, r.Reason, r.Body, r.ContentLength = 200, nil, nil, 0
	r.Header.DelID(exchange.ContentEncoding)
	r.Header.SetID(exchange.ContentType, []byte("application/grpc"))
	r.Header.Set("Grpc-Status", strconv.Itoa(status))
	r.Header.Set("Grpc-Message", message)
}

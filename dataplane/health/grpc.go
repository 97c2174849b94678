package health

import (
	"errors"
	"fmt"
	"io"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// The health checking protocol of gRPC (grpc.health.v1): the call Check sends the name of a service and gets a status. Both
// messages have one field, so they are written and read here, and not by a library that a proxy needs for nothing else.
const (
	grpcPath   = "/grpc.health.v1.Health/Check"
	grpcPrefix = 5 // bytes in front of a message: whether it is compressed, and its length
	// maxGRPC is how much of an answer is read.
	maxGRPC = 1 << 10

	statusServing = 1
)

// servingNames are the statuses by their numbers.
var servingNames = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

var errNotGRPC = errors.New("its answer is not one of gRPC's health checking protocol")

// appendHealthRequest appends a HealthCheckRequest{service: 1} with its prefix.
func appendHealthRequest(b []byte, service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2) // field 1, bytes
		message = appendVarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	n := len(message)
	b = append(b, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(b, message...)
}

func appendVarint(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// varint reads a number, and returns what follows it.
func varint(b []byte) (v uint64, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

// parseHealthResponse returns the status in a HealthCheckResponse{status: 1} with its prefix. Fields that are not known are
// passed over.
func parseHealthResponse(b []byte) (status uint64, ok bool) {
	if len(b) < grpcPrefix || b[0] != 0 {
		return 0, false
	}
	n := uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4])
	b = b[grpcPrefix:]
	if uint64(len(b)) != n {
		return 0, false
	}
	for len(b) > 0 {
		var key, skip uint64
		if key, b, ok = varint(b); !ok {
			return 0, false
		}
		switch key & 7 {
		case 0:
			var v uint64
			if v, b, ok = varint(b); !ok {
				return 0, false
			}
			if key>>3 == 1 {
				status = v
			}
		case 1:
			skip = 8
		case 2:
			if skip, b, ok = varint(b); !ok {
				return 0, false
			}
		case 5:
			skip = 4
		default:
			return 0, false
		}
		if skip > uint64(len(b)) {
			return 0, false
		}
		b = b[skip:]
	}
	return status, true
}

// fillGRPC makes the request of a gRPC check.
func (p *probe) fillGRPC(r *exchange.Request) {
	r.Method, r.Protocol = exchange.POST, exchange.HTTP2
	host := p.settings.Host
	if host == "" {
		host = p.endpoint.Addr().String()
	}
	r.Host, r.Path = []byte(host), []byte(grpcPath)
	r.RawPath = r.Path
	r.Header.AddIDString(exchange.UserAgent, userAgent)
	r.Header.AddIDString(exchange.ContentType, "application/grpc")
	message := appendHealthRequest(nil, p.settings.Service)
	p.body.Reset(message)
	r.Body, r.ContentLength = &p.body, int64(len(message))
}

// judgeGRPC reads the answer to a gRPC check; nil is healthy.
func (p *probe) judgeGRPC() error {
	r := &p.x.Response
	if r.Status != 200 {
		return fmt.Errorf("it answered %d to a gRPC health check", r.Status)
	}
	var answer []byte
	for body := r.Body; body != nil; {
		var buf [256]byte
		n, err := body.Read(buf[:])
		answer = append(answer, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(answer) > maxGRPC {
			return errNotGRPC
		}
	}
	code, ok := r.Trailer.Get("Grpc-Status")
	if !ok {
		if code, ok = r.Header.Get("Grpc-Status"); !ok { // a response of trailers alone
			return errNotGRPC
		}
	}
	if string(code) != "0" {
		return fmt.Errorf("it answered a gRPC health check with the status %s", printable(code))
	}
	status, ok := parseHealthResponse(answer)
	switch {
	case !ok:
		return errNotGRPC
	case status == statusServing:
		return nil
	case status < uint64(len(servingNames)):
		return fmt.Errorf("its gRPC health is %s", servingNames[status])
	}
	return fmt.Errorf("its gRPC health is %d", status)
}

// printable is the text of a status code, which is a small number unless the endpoint is not what it should be.
func printable(code []byte) string {
	if len(code) > 3 {
		return "unknown"
	}
	for _, c := range code {
		if c < '0' || c > '9' {
			return "unknown"
		}
	}
	return string(code)
}

package buffer

import (
	"errors"
	"fmt"
	"io"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner string `outline:"-"` // service and route
	Max   int    // bytes of a body; a longer one is refused
}

// Key implements filter.Config.
func (c Config) Key() string { return fmt.Sprintf("buffer %q %d", c.Owner, c.Max) }

// Validate says what keeps New from working.
func (c Config) Validate() error {
	if c.Max < 1 {
		return fmt.Errorf("max_bytes: %d: must be 1 or more", c.Max)
	}
	return nil
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &buffer{max: c.Max}, nil
}

type buffer struct {
	filter.Nop
	max int
}

// statusClientGone stands in the log for a client that went away before there was a response; nothing is sent.
const statusClientGone = 499

// Request implements filter.Filter.
func (f *buffer) Request(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	if r.Body == nil || r.Upgrade { // a tunnel is no body
		return filter.Continue
	}
	if r.ContentLength > int64(f.max) {
		return refuse(x, 413, exchange.BodyTooLarge)
	}
	if r.Expect { // no endpoint will ask for the body: the filter does
		r.Expect = false
		r.Header.DelID(exchange.Expect)
		if x.Downstream.Interim(x, 100, nil) != nil {
			return gone(x)
		}
	}
	body, err := f.read(r)
	if err != nil {
		return f.failed(x, err)
	}
	// What follows has a length, and no trailer.
	r.Header.DelID(exchange.Trailer)
	r.Trailer.Reset(nil)
	r.ContentLength = int64(len(body))
	r.Body = nil
	if len(body) > 0 {
		whole := new(exchange.Bytes)
		whole.Reset(body)
		r.Body = whole
	}
	return filter.Continue
}

// firstRead is how much memory a body gets before any of it has come: who announces a long one has sent nothing yet.
const firstRead = 16 << 10

var (
	errTooLong   = &exchange.Failure{Reason: exchange.BodyTooLarge, Err: errors.New("the body is longer than max_bytes")}
	errUnequal   = &exchange.Failure{Reason: exchange.BadRequest, Err: errors.New("the body is not as long as Content-Length says")}
	errNoReading = errors.New("reading brought nothing")
)

// read reads the body to its end.
func (f *buffer) read(r *exchange.Request) ([]byte, error) {
	limit := f.max
	if r.ContentLength >= 0 {
		limit = int(r.ContentLength)
	}
	body := make([]byte, 0, min(limit, firstRead)+1) // one byte more shows what is too long
	for idle := 0; ; {
		if r.Body.Ended() {
			break
		}
		if len(body) == cap(body) {
			larger := make([]byte, len(body), min(2*cap(body), limit+1))
			copy(larger, body)
			body = larger
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if len(body) > limit {
			return nil, errTooLong
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if n > 0 {
			idle = 0
		} else if idle++; idle > 100 {
			return nil, errNoReading
		}
	}
	if r.ContentLength >= 0 && int64(len(body)) != r.ContentLength {
		return nil, errUnequal
	}
	return body, nil
}

// failed answers for a body that could not be read.
func (f *buffer) failed(x *exchange.Exchange, err error) filter.Verdict {
	var failure *exchange.Failure
	if !errors.As(err, &failure) {
		return gone(x)
	}
	switch failure.Reason {
	case exchange.BodyTooLarge:
		return refuse(x, 413, failure.Reason)
	case exchange.RequestTimeout:
		return refuse(x, 408, failure.Reason)
	case exchange.HeaderTooLarge: // of the trailer
		return refuse(x, 431, failure.Reason)
	case exchange.BadRequest:
		return refuse(x, 400, failure.Reason)
	}
	return gone(x)
}

// refuse ends the connection too: where the next request begins may not be known.
func refuse(x *exchange.Exchange, status int, reason exchange.Reason) filter.Verdict {
	x.Answer(status, reason)
	x.Response.Close = reason != exchange.BodyTooLarge // of which the engine knows how much is left
	return filter.Respond
}

func gone(x *exchange.Exchange) filter.Verdict {
	x.ResetResponse()
	x.Response.Status, x.Record.Reason = statusClientGone, exchange.ClientReset
	return filter.Respond
}

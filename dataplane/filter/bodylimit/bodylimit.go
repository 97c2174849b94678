package bodylimit

import (
	"errors"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner string `outline:"-"` // service and route
	Max   int64  // bytes of a body; 0: a request has none
}

// Key implements filter.Config.
func (c Config) Key() string { return fmt.Sprintf("body limit %q %d", c.Owner, c.Max) }

// Validate says what keeps New from working.
func (c Config) Validate() error {
	if c.Max < 0 {
		return fmt.Errorf("%d: must be 0 or more", c.Max)
	}
	return nil
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &limit{max: c.Max}, nil
}

type limit struct {
	filter.Nop
	max int64
}

// Request implements filter.Filter.
func (f *limit) Request(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	switch {
	case r.Body == nil, r.Upgrade: // a tunnel is no body
		return filter.Continue
	case r.ContentLength > f.max:
		x.Answer(413, exchange.BodyTooLarge)
		return filter.Respond
	case r.ContentLength < 0:
		r.Body = &counted{Wrapper: exchange.Wrapper{Body: r.Body}, left: f.max}
	}
	return filter.Continue
}

// errTooLong ends the try: no endpoint may take what it got for the whole.
var errTooLong = &exchange.Failure{Reason: exchange.BodyTooLarge, Err: errors.New("the body is longer than max_body_bytes")}

// A counted body is cut off where it gets too long.
type counted struct {
	exchange.Wrapper
	left int64 // bytes that may still come
	over bool
}

// Buffered implements exchange.Body.
func (b *counted) Buffered() []byte {
	at := b.Body.Buffered()
	return at[:min(int64(len(at)), b.left)]
}

// Skip implements exchange.Body.
func (b *counted) Skip(n int) {
	b.Body.Skip(n)
	b.left -= int64(n)
}

// Read implements exchange.Body.
func (b *counted) Read(p []byte) (int, error) {
	if b.over {
		return 0, errTooLong
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 { // its end may come, and nothing else
		var one [1]byte
		n, err := b.Body.Read(one[:])
		if n > 0 {
			b.over = true
			return 0, errTooLong
		}
		return 0, err
	}
	n, err := b.Body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Ended implements exchange.Body.
func (b *counted) Ended() bool { return !b.over && b.Body.Ended() }

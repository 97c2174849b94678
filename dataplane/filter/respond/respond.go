package respond

import (
	"errors"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner       string `outline:"-"`    // service and route
	Code        int    `outline:"show"` // 200 to 599
	Body        string
	ContentType string `outline:"show"` // of Body
}

const (
	maxBody = 64 << 10
	maxType = 256
)

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("respond %q %d %q %q", c.Owner, c.Code, c.ContentType, c.Body)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	switch {
	case c.Code < 200 || c.Code > 599:
		return fmt.Errorf("code: %d: must be between 200 and 599", c.Code)
	case len(c.Body) > maxBody:
		return fmt.Errorf("body: must have at most %d bytes", maxBody)
	case c.Body != "" && bodiless(c.Code):
		return fmt.Errorf("body: must be empty: a response of status %d has none", c.Code)
	case len(c.ContentType) > maxType:
		return fmt.Errorf("content_type: must have at most %d bytes", maxType)
	}
	for i := range len(c.ContentType) {
		if b := c.ContentType[i]; b < ' ' || b >= 0x7f {
			return errors.New("content_type: must have printable characters only")
		}
	}
	return nil
}

func bodiless(code int) bool { return code == 204 || code == 205 || code == 304 }

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &respond{code: c.Code, body: []byte(c.Body), contentType: c.ContentType}, nil
}

type respond struct {
	filter.Nop
	code        int
	body        []byte // read by many exchanges at once, written by none
	contentType string
}

// Request implements filter.Filter.
func (f *respond) Request(x *exchange.Exchange) filter.Verdict {
	x.ResetResponse()
	x.Record.Reason = exchange.Responded
	r := &x.Response
	r.Status, r.Local, r.Protocol = f.code, true, exchange.HTTP11
	if !bodiless(f.code) {
		x.AnswerBody(f.contentType, f.body)
		if f.contentType == "" || len(f.body) == 0 {
			r.Header.DelID(exchange.ContentType) // of nothing
		}
	}
	return filter.Respond
}

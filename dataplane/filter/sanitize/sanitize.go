package sanitize

import (
	"errors"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner    string   `outline:"-"`    // the service
	Request  []string `outline:"show"` // fields that are removed before a request is forwarded
	Response []string `outline:"show"` // fields that are removed before a response is sent
	Keep     []string `outline:"show"` // fields that proxy removes from requests without being asked, and here must not
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("sanitize %q request %q response %q keep %q", c.Owner, c.Request, c.Response, c.Keep)
}

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	var problems []error
	for _, name := range c.Request {
		if err := filter.CheckField(name); err != nil {
			problems = append(problems, fmt.Errorf("request_headers %q: %w", name, err))
		}
	}
	for _, name := range c.Response {
		if err := filter.CheckField(name); err != nil {
			problems = append(problems, fmt.Errorf("response_headers %q: %w", name, err))
		}
	}
	for _, name := range c.Keep {
		switch id := exchange.Lookup(name); {
		case exchange.WritesItself(id):
			problems = append(problems, fmt.Errorf("keep_request_headers %q: the proxy writes the field itself; "+
				"whose word counts there is what `client_ip.trusted_proxies` says", name))
		case !exchange.SpeaksForProxies(id, name):
			problems = append(problems, fmt.Errorf("keep_request_headers %q: is not removed; docs/headers.md has the list", name))
		}
	}
	return errors.Join(problems...)
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &sanitize{request: c.Request, response: c.Response}, nil
}

type sanitize struct {
	filter.Nop
	request, response []string
}

// Request implements filter.Filter.
func (f *sanitize) Request(x *exchange.Exchange) filter.Verdict {
	for _, name := range f.request {
		x.Request.Header.Del(name)
	}
	x.Request.Seal(f.request)
	return filter.Continue
}

// Response implements filter.Filter.
func (f *sanitize) Response(x *exchange.Exchange) {
	for _, name := range f.response {
		x.Response.Header.Del(name)
	}
}

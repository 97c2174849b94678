package identity

import (
	"errors"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner  string   `outline:"-"`    // the service
	Fields []string `outline:"show"` // that clients do not write
}

// Key implements filter.Config.
func (c Config) Key() string { return fmt.Sprintf("identity %q fields %q", c.Owner, c.Fields) }

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	var problems []error
	for _, name := range c.Fields {
		if err := filter.CheckField(name); err != nil {
			problems = append(problems, fmt.Errorf("field %q: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &identity{fields: c.Fields}, nil
}

type identity struct {
	filter.Nop
	fields []string
}

// Request implements filter.Filter.
func (f *identity) Request(x *exchange.Exchange) filter.Verdict {
	for _, name := range f.fields {
		filter.RemoveField(&x.Request.Header, name)
	}
	x.Request.Seal(f.fields)
	return filter.Continue
}

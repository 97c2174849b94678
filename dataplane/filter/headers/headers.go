package headers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// On says which message is changed.
type On uint8

// The messages.
const (
	Request On = iota
	Response
)

// A Field is a name, in any case, and its value.
type Field struct {
	Name  string `outline:"show"`
	Value string
}

// Config describes the filter. Remove happens first, then Set, then Add, each in the order of its list.
type Config struct {
	Owner  string `outline:"-"` // service and route
	On     On
	Set    []Field  // the field has this value alone
	Add    []Field  // the field gets one more line
	Remove []string `outline:"show"`
}

const (
	maxName  = 256
	maxValue = 8192
)

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("headers %q %d set %q add %q remove %q", c.Owner, c.On, c.Set, c.Add, c.Remove)
}

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if c.On > Response {
		problems = append(problems, fmt.Errorf("on: unknown message %d", c.On))
	}
	if len(c.Set)+len(c.Add)+len(c.Remove) == 0 {
		problems = append(problems, errors.New("set at least one of `set`, `add` and `remove`"))
	}
	set := make(map[string]bool, len(c.Set))
	for _, f := range c.Set {
		if name := strings.ToLower(f.Name); set[name] {
			problems = append(problems, fmt.Errorf("set %q: the field is set twice", f.Name))
		} else {
			set[name] = true
		}
		problems = append(problems, prefix("set", f.Name, checkName(f.Name)), prefix("set", f.Name, checkValue(f.Value)))
	}
	for _, f := range c.Add {
		problems = append(problems, prefix("add", f.Name, checkName(f.Name)), prefix("add", f.Name, checkValue(f.Value)))
	}
	for _, name := range c.Remove {
		problems = append(problems, prefix("remove", name, checkName(name)))
	}
	return errors.Join(problems...)
}

func prefix(list, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", list, name, err)
}

// checkName refuses what is no field name (RFC 9110 §5.1), what frames a message and what belongs to one connection
// (RFC 9110 §7.6.1): the engines write those.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a field name has 1 to %d characters", maxName)
	}
	for i := range len(name) {
		if !tokenByte(name[i]) {
			return errors.New("a field name has letters, digits and !#$%&'*+-.^_`|~ only")
		}
	}
	switch exchange.Lookup(name) {
	case exchange.ContentLength, exchange.TransferEncoding, exchange.Trailer, exchange.TE, exchange.Expect:
		return errors.New("the field frames the message and cannot be changed")
	case exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.Upgrade, exchange.HTTP2Settings,
		exchange.ProxyAuthenticate, exchange.ProxyAuthorization:
		return errors.New("the field belongs to one connection and is never forwarded")
	case exchange.Host:
		return errors.New("use a `rewrite` filter with `host` to change Host")
	}
	return nil
}

// checkValue refuses what is no field value (RFC 9110 §5.5). Errors do not repeat it: it may be a secret.
func checkValue(value string) error {
	if len(value) > maxValue {
		return fmt.Errorf("a value has at most %d bytes", maxValue)
	}
	if strings.Trim(value, " \t") != value {
		return errors.New("a value neither starts nor ends with white space")
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return errors.New("a value has no control characters")
		}
	}
	return nil
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.On == Request {
		sealed := slices.Clone(c.Remove)
		for _, f := range c.Set {
			sealed = append(sealed, f.Name)
		}
		return &onRequest{changes: changes{set: c.Set, add: c.Add, remove: c.Remove}, sealed: sealed}, nil
	}
	return &onResponse{changes: changes{set: c.Set, add: c.Add, remove: c.Remove}}, nil
}

type changes struct {
	set, add []Field
	remove   []string
}

func (c *changes) apply(h *exchange.Header) {
	for _, name := range c.remove {
		h.Del(name)
	}
	for i := range c.set {
		h.Set(c.set[i].Name, c.set[i].Value)
	}
	for i := range c.add {
		h.Add(c.add[i].Name, c.add[i].Value)
	}
}

type onRequest struct {
	filter.Nop
	changes
	sealed []string // what a trailer must not undo
}

// Request implements filter.Filter.
func (f *onRequest) Request(x *exchange.Exchange) filter.Verdict {
	f.apply(&x.Request.Header)
	x.Request.Seal(f.sealed)
	return filter.Continue
}

type onResponse struct {
	filter.Nop
	changes
}

// Response implements filter.Filter.
func (f *onResponse) Response(x *exchange.Exchange) { f.apply(&x.Response.Header) }

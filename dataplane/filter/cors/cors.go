package cors

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner       string   `outline:"-"`    // service and route
	Origins     []string `outline:"show"` // "https://example.com", "https://*.example.com" or "*"
	Methods     []string `outline:"show"`
	Headers     []string `outline:"show"` // that pages may send; none: those that they ask for
	Expose      []string `outline:"show"` // that pages may read
	Credentials bool     // pages may send cookies
	MaxAge      int      // seconds for which the answer to a preflight request may be kept
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("cors %q origins %q methods %q headers %q expose %q credentials %t age %d",
		c.Owner, c.Origins, c.Methods, c.Headers, c.Expose, c.Credentials, c.MaxAge)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	_, err := c.build()
	return err
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	f, err := c.build()
	if err != nil {
		return nil, err // and not f: an interface that holds a nil pointer is not nil
	}
	return f, nil
}

func (c Config) build() (*cors, error) {
	f := &cors{credentials: c.Credentials, exact: map[string]struct{}{}, maxAge: strconv.Itoa(c.MaxAge)}
	if len(c.Origins) == 0 {
		return nil, errors.New("allow_origins: must be set")
	}
	for _, origin := range c.Origins {
		scheme, host, found := strings.Cut(origin, "://")
		suffix, wild := strings.CutPrefix(host, "*")
		switch {
		case origin == "*" && c.Credentials:
			return nil, errors.New("allow_origins: `*` with credentials: every page could act as the user")
		case origin == "*":
			f.any = true
		case !found || !token(scheme) || strings.ToLower(origin) != origin || !validHost(strings.TrimPrefix(suffix, ".")) || wild && suffix[0] != '.':
			return nil, fmt.Errorf("allow_origins: %q: must be `*`, or a scheme and a host in lower case such as `https://example.com`", origin)
		case wild:
			f.wild = append(f.wild, wildcard{scheme + "://", suffix})
		default:
			f.exact[origin] = struct{}{}
		}
	}
	for _, list := range [...]struct {
		name  string
		items []string
		into  *string
	}{{"allow_methods", c.Methods, &f.methods}, {"allow_headers", c.Headers, &f.headers}, {"expose_headers", c.Expose, &f.expose}} {
		for _, item := range list.items {
			if !token(item) {
				return nil, fmt.Errorf("%s: %q: must be a token", list.name, item)
			}
		}
		*list.into = strings.Join(list.items, ", ")
	}
	if f.methods == "" {
		return nil, errors.New("allow_methods: must be set")
	}
	if c.MaxAge < 0 {
		return nil, fmt.Errorf("max_age_secs: %d: must be 0 or more", c.MaxAge)
	}
	if c.Credentials && f.headers == "*" { // of which browsers then make a name
		f.headers = ""
	}
	return f, nil
}

// validHost reports whether s is a host, with or without a port.
func validHost(s string) bool {
	host, port := exchange.SplitPort(s)
	if len(host) < len(s) {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return exchange.ValidHost(host)
}

// token reports whether s is one (RFC 9110 §5.6.2).
func token[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == 0 || strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0:
			return false
		}
	}
	return len(s) > 0
}

// A wildcard is an origin of which the first labels may be any.
type wildcard struct{ scheme, suffix string }

// maxOrigin is more than a scheme, the longest host and a port are.
const maxOrigin = 300

// matches reports whether origin is the scheme, one label or more, and the suffix, port included.
func (w wildcard) matches(origin []byte) bool {
	if len(origin) > maxOrigin || len(origin) <= len(w.scheme)+len(w.suffix) || string(origin[:len(w.scheme)]) != w.scheme || string(origin[len(origin)-len(w.suffix):]) != w.suffix {
		return false
	}
	last := byte('.')
	for _, c := range origin[len(w.scheme) : len(origin)-len(w.suffix)] {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && last != '.':
		default:
			return false
		}
		last = c
	}
	return last != '.'
}

type cors struct {
	filter.Nop
	any, credentials         bool
	exact                    map[string]struct{}
	wild                     []wildcard
	methods, headers, expose string
	maxAge                   string
}

const (
	origin         = "Origin"
	requestMethod  = "Access-Control-Request-Method"
	requestHeaders = "Access-Control-Request-Headers"
	prefix         = "Access-Control-"
)

// Request implements filter.Filter.
func (f *cors) Request(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	from, ok := r.Header.Get(origin)
	if !ok {
		return filter.Continue
	}
	x.Origin = from // a filter may remove it from what the endpoint sees
	if r.Method != exchange.OPTIONS {
		return filter.Continue
	}
	if _, ok := r.Header.Get(requestMethod); !ok {
		return filter.Continue
	}
	f.preflight(x)
	return filter.Respond
}

// maxRequested is how many bytes of a preflight request's list of fields are looked at.
const maxRequested = 4096

// preflight answers a preflight request. One of an origin that may not use the route gets an answer that says nothing,
// which browsers take for a no.
func (f *cors) preflight(x *exchange.Exchange) {
	x.ResetResponse()
	x.Record.Reason = exchange.Preflight
	r := &x.Response
	r.Status, r.Local, r.Protocol = 204, true, exchange.HTTP11
	if f.allow(x) {
		r.Header.Add("Access-Control-Allow-Methods", f.methods)
		if asked, ok := x.Request.Header.Get(requestHeaders); f.headers != "" {
			r.Header.Add("Access-Control-Allow-Headers", f.headers)
		} else if ok && tokens(asked) {
			r.Header.AddBytes([]byte("Access-Control-Allow-Headers"), asked)
		}
		r.Header.Add("Access-Control-Max-Age", f.maxAge)
	}
	r.Header.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
}

// tokens reports whether a list holds tokens alone: it is sent back.
func tokens(list []byte) bool {
	if len(bytes.Trim(list, " \t")) == 0 || len(list) > maxRequested {
		return false
	}
	for len(list) > 0 {
		var item []byte
		if item, list = exchange.NextToken(list); !token(item) {
			return false
		}
	}
	return true
}

// Response implements filter.Filter.
func (f *cors) Response(x *exchange.Exchange) {
	r := &x.Response
	if x.Record.Reason == exchange.Preflight {
		return
	}
	for i := range r.Header.Len() {
		id, name, _, ok := r.Header.At(i)
		if ok && id == exchange.Other && len(name) > len(prefix) && exchange.EqualFold(name[:len(prefix)], prefix) {
			r.Header.RemoveAt(i)
		}
	}
	if x.Origin != nil && f.allow(x) && f.expose != "" {
		r.Header.Add("Access-Control-Expose-Headers", f.expose)
	}
	r.Header.Merge("Vary", origin) // with another one, or without any, the answer is another
}

// allow adds the fields that let the page read the response, if its origin may.
func (f *cors) allow(x *exchange.Exchange) bool {
	h := &x.Response.Header
	switch {
	case f.any && !f.credentials:
		h.Add("Access-Control-Allow-Origin", "*")
		return true
	case !f.allowed(x.Origin):
		return false
	}
	h.AddBytes([]byte("Access-Control-Allow-Origin"), x.Origin)
	if f.credentials {
		h.Add("Access-Control-Allow-Credentials", "true")
	}
	return true
}

func (f *cors) allowed(from []byte) bool {
	if _, ok := f.exact[string(from)]; ok {
		return true
	}
	for _, w := range f.wild {
		if w.matches(from) {
			return true
		}
	}
	return false
}

package redirect

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter. What is empty is taken from the request.
type Config struct {
	Owner    string   `outline:"-"`    // service and route
	Scheme   string   `outline:"show"` // http or https
	Host     string   `outline:"show"` // without a port
	Port     uint16   // 0: the usual one of Scheme where that is set, else the request's
	Path     string   `outline:"show"` // $1 is a group of Patterns
	Patterns []string `outline:"show"` // the regular expressions that the route's paths are matched with, in their order
	Code     int      // 301, 302, 303, 307 or 308; 0: 302
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("redirect %q scheme %q host %q port %d path %q patterns %q code %d",
		c.Owner, c.Scheme, c.Host, c.Port, c.Path, c.Patterns, c.Code)
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

func (c Config) build() (*redirect, error) {
	f := &redirect{scheme: c.Scheme, host: c.Host, code: c.Code}
	switch c.Code {
	case 301, 302, 303, 307, 308:
	case 0:
		f.code = 302
	default:
		return nil, fmt.Errorf("code: %d: must be one of 301, 302, 303, 307, 308", c.Code)
	}
	switch c.Scheme {
	case "", "http", "https":
	default:
		return nil, fmt.Errorf("scheme: %q: must be one of http, https", c.Scheme)
	}
	if c.Host != "" && !exchange.ValidHost(c.Host) {
		return nil, fmt.Errorf("host: %q: must be a name or an address without a port, IPv6 in brackets", c.Host)
	}
	if c.Port != 0 {
		f.port = strconv.Itoa(int(c.Port))
	}
	if c.Path != "" {
		captures, err := filter.NewCaptures(c.Path, c.Patterns)
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		if c.Path[0] != '/' {
			return nil, errors.New("path: must start with '/'")
		}
		path, ok := exchange.NormalizePath(nil, captures.Append(nil, nil))
		if !ok {
			return nil, errors.New("path: must be a path: no '?', '#', backslash, space or invalid escape, and no way above the root")
		}
		if captures.Static() {
			f.path = path
		} else {
			f.captures = captures
		}
	}
	if c.Scheme == "" && c.Host == "" && c.Port == 0 && c.Path == "" {
		return nil, errors.New("set `scheme`, `host`, `port` or `path`")
	}
	return f, nil
}

type redirect struct {
	filter.Nop
	scheme, host, port string
	path               []byte
	captures           *filter.Captures
	code               int
}

// Request implements filter.Filter.
func (f *redirect) Request(x *exchange.Exchange) filter.Verdict {
	path := x.Request.Path
	switch {
	case f.path != nil:
		path = f.path
	case f.captures != nil:
		normal, ok := x.Normalize(f.captures.Append(nil, path))
		if !ok {
			x.Answer(400, exchange.BadRequest)
			return filter.Respond
		}
		path = normal
	case string(path) == "*":
		path = path[:0]
	}
	location := f.location(x, path)
	x.ResetResponse()
	x.Record.Reason = exchange.Redirected
	r := &x.Response
	r.Status, r.Local, r.Protocol = f.code, true, exchange.HTTP11
	r.Header.AddID(exchange.Location, location)
	return filter.Respond
}

// location builds the absolute address (RFC 9110 §10.2.2). Where the client named no host and none is configured, it
// is a path alone, which must not be taken for a host: it has no two slashes at its start.
func (f *redirect) location(x *exchange.Exchange, path []byte) []byte {
	scheme, authority := clientView(x)
	host, port := exchange.SplitPort(authority)
	if !exchange.ValidHost(host) || len(port) > 5 {
		host, port = nil, nil
	}
	if f.scheme != "" {
		scheme, port = f.scheme, nil
	}
	query := x.Request.Query
	out := x.Scratch(len("https://:65535/?") + len(host) + len(f.host) + len(path) + 3*len(query))[:0]
	if f.host != "" || len(host) > 0 {
		out = append(out, scheme...)
		out = append(out, "://"...)
		if f.host != "" {
			out = append(out, f.host...)
		} else {
			out = append(out, host...)
		}
		switch {
		case f.port != "" && f.port != usualPort(scheme):
			out = append(out, ':')
			out = append(out, f.port...)
		case f.port == "" && len(port) > 0 && string(port) != usualPort(scheme):
			out = append(out, ':')
			out = append(out, port...)
		}
	}
	for len(out) == 0 && len(path) > 1 && path[1] == '/' { // where slashes are kept
		path = path[1:]
	}
	if len(path) == 0 {
		out = append(out, '/')
	}
	out = append(out, path...)
	if x.Request.HasQuery {
		out = append(out, '?')
		out = appendQuery(out, query)
	}
	return out
}

// clientView is the scheme and the authority that the client used. A trusted peer knows them better than this
// connection does.
func clientView(x *exchange.Exchange) (scheme string, authority []byte) {
	scheme, authority = "http", x.Request.Host
	if x.Conn.Secure {
		scheme = "https"
	}
	if !x.ClientTrusted {
		return scheme, authority
	}
	switch proto := x.Request.Header.Value(exchange.XForwardedProto); {
	case exchange.EqualFold(proto, "https"):
		scheme = "https"
	case exchange.EqualFold(proto, "http"):
		scheme = "http"
	}
	if forwarded := x.Request.Header.Value(exchange.XForwardedHost); forwarded != nil {
		if host, _ := exchange.SplitPort(forwarded); exchange.ValidHost(host) {
			authority = forwarded
		}
	}
	return scheme, authority
}

func usualPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

const upperHex = "0123456789ABCDEF"

// appendQuery escapes what must not stand in a Location: controls, spaces, non-ASCII bytes, and what would end it in
// a page or start a fragment.
func appendQuery(dst, query []byte) []byte {
	for _, c := range query {
		switch {
		case c <= ' ', c >= 0x7f, c == '"', c == '<', c == '>', c == '#', c == '\\', c == '`':
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

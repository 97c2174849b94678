package rewrite

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter. What is empty stays as it is.
type Config struct {
	Owner         string   `outline:"-"`    // service and route
	ReplacePrefix string   `outline:"show"` // stands in for what the route's path matched; not together with Path
	Path          string   `outline:"show"` // the whole path; $1 is a group of Patterns
	Patterns      []string `outline:"show"` // the regular expressions that the route's paths are matched with, in their order
	Host          string   `outline:"show"` // with or without a port
	KeepSlashes   bool     // several slashes in a row stay
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("rewrite %q prefix %q path %q patterns %q host %q slashes %t",
		c.Owner, c.ReplacePrefix, c.Path, c.Patterns, c.Host, c.KeepSlashes)
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

func (c Config) build() (*rewrite, error) {
	f := &rewrite{}
	switch {
	case c.ReplacePrefix != "" && c.Path != "":
		return nil, errors.New("set `replace_prefix` or `path`, not both")
	case c.ReplacePrefix != "":
		path, err := configuredPath(c.ReplacePrefix, c.KeepSlashes)
		if err != nil {
			return nil, fmt.Errorf("replace_prefix: %w", err)
		}
		f.replace = path
		f.prefix = path
		if path[len(path)-1] == '/' {
			f.prefix = path[:len(path)-1]
		}
	case c.Path != "":
		captures, err := filter.NewCaptures(c.Path, c.Patterns)
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		path, err := configuredPath(string(captures.Append(nil, nil)), c.KeepSlashes)
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		if captures.Static() {
			f.path = path
		} else {
			f.captures = captures
		}
	case c.Host == "":
		return nil, errors.New("set `replace_prefix`, `path` or `host`")
	}
	if c.Host != "" {
		host, port := exchange.SplitPort(c.Host)
		if !exchange.ValidHost(host) {
			return nil, fmt.Errorf("host: %q: must be a name or an address, IPv6 in brackets", c.Host)
		}
		if n, err := strconv.ParseUint(port, 10, 16); len(host) < len(c.Host) && (err != nil || n == 0) {
			return nil, fmt.Errorf("host: %q: port must be between 1 and 65535", c.Host)
		}
		f.host = []byte(c.Host)
	}
	return f, nil
}

// configuredPath is the normal form of a path in the configuration.
func configuredPath(s string, keepSlashes bool) ([]byte, error) {
	if s == "" || s[0] != '/' {
		return nil, errors.New("must start with '/'")
	}
	path, ok := exchange.NormalizePath(nil, []byte(s))
	if keepSlashes {
		path, ok = exchange.NormalizeKeepingSlashes([]byte(s))
	}
	if !ok {
		return nil, errors.New("must be a path: no '?', '#', backslash, space or invalid escape, and no way above the root")
	}
	return path, nil
}

type rewrite struct {
	filter.Nop
	replace  []byte // as configured, for when nothing follows the prefix
	prefix   []byte // replace without a slash at its end, for when something does
	path     []byte
	captures *filter.Captures
	host     []byte
}

// Request implements filter.Filter.
func (f *rewrite) Request(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	if f.host != nil {
		r.Host = f.host
	}
	if string(r.Path) == "*" { // OPTIONS * asks about the server and has no path
		return filter.Continue
	}
	switch {
	case f.path != nil:
		r.Path, x.PrefixLen = f.path, 0
		return filter.Continue
	case f.captures != nil:
		r.Path, x.PrefixLen = f.captures.Append(nil, r.Path), 0
	case f.replace != nil:
		f.replacePrefix(x)
	default:
		return filter.Continue
	}
	path, ok := x.Normalize(r.Path)
	if !ok {
		x.Answer(400, exchange.BadRequest)
		return filter.Respond
	}
	r.Path = path
	return filter.Continue
}

// replacePrefix joins like the Gateway API's ReplacePrefixMatch: /api/v2/x becomes /x for "/", and /api/v2 becomes "/".
func (f *rewrite) replacePrefix(x *exchange.Exchange) {
	r := &x.Request
	rest := r.Path
	if x.PrefixLen <= len(rest) {
		rest = rest[x.PrefixLen:]
	}
	if len(rest) == 0 {
		r.Path = f.replace
	} else {
		joined := append(x.Scratch(len(f.prefix) + len(rest))[:0], f.prefix...)
		r.Path = append(joined, rest...)
	}
	x.PrefixLen = len(f.prefix) // what a further rewrite replaces
}

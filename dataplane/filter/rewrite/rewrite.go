package rewrite

import (
	"errors"
	"fmt"
	"regexp"
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
	Pattern       string   `outline:"show"` // what it matches in the path, everywhere, becomes Substitution; not together with a path
	Substitution  string   `outline:"show"` // $1 is a group of Pattern
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("rewrite %q prefix %q path %q patterns %q host %q slashes %t pattern %q substitution %q",
		c.Owner, c.ReplacePrefix, c.Path, c.Patterns, c.Host, c.KeepSlashes, c.Pattern, c.Substitution)
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
	case c.Pattern != "" && (c.ReplacePrefix != "" || c.Path != ""):
		return nil, errors.New("set `regex`, or `replace_prefix` or `path`, not both")
	case c.Pattern != "":
		captures, err := filter.NewCaptures(c.Substitution, []string{c.Pattern})
		if err != nil {
			return nil, fmt.Errorf("regex: %w", err)
		}
		// Where it will stand in a path is not to be known, but what no path holds it must not hold.
		if _, ok := exchange.NormalizePath(nil, append([]byte("/x/x"), captures.Append(nil, nil)...)); !ok {
			return nil, errors.New("regex: substitution: must be a part of a path: no '?', '#', backslash, space or invalid escape")
		}
		f.pattern, f.captures = regexp.MustCompile(c.Pattern), captures
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
		return nil, errors.New("set `replace_prefix`, `path`, `regex` or `host`")
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
	pattern  *regexp.Regexp // captures take the place of it, everywhere in the path; nil: of the whole path
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
	case f.pattern != nil:
		path, ok := f.substitute(r.Path)
		if !ok {
			x.Answer(414, exchange.URITooLong)
			return filter.Respond
		}
		r.Path, x.PrefixLen = path, 0
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

const (
	maxPath    = 16 << 10 // bytes of a path in which a pattern was replaced
	maxMatches = 1024     // of a pattern in one path
)

// substitute replaces the pattern wherever it matches. ok is false where that makes too much of a path.
func (f *rewrite) substitute(path []byte) (out []byte, ok bool) {
	all := f.pattern.FindAllSubmatchIndex(path, maxMatches+1)
	if len(all) == 0 {
		return path, true
	}
	if len(all) > maxMatches {
		return nil, false
	}
	out = make([]byte, 0, len(path)+64)
	end := 0
	for _, at := range all {
		out = append(out, path[end:at[0]]...)
		out = f.captures.AppendMatch(out, path, at)
		end = at[1]
		if len(out) > maxPath {
			return nil, false
		}
	}
	out = append(out, path[end:]...)
	return out, len(out) <= maxPath
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

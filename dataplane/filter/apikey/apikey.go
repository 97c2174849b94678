package apikey

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

const (
	maxList = 4 << 20 // bytes
	maxKeys = 50000
	maxName = 255  // bytes of a name
	maxKey  = 4096 // bytes of a key
)

// Config describes the filter.
type Config struct {
	Owner      string `outline:"-"` // the service, or the service and the route
	Keys       []byte // a list of names and digests
	Header     string `outline:"show"` // that holds the key
	Forward    bool   // the endpoint gets the key
	UserHeader string `outline:"show"` // that tells the endpoint the key's name; empty: none
}

type digest = [sha256.Size]byte

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("apikey %q keys %x header %q forward %t user %q", c.Owner, sha256.Sum256(c.Keys), c.Header, c.Forward, c.UserHeader)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if _, err := parseKeys(c.Keys); err != nil {
		problems = append(problems, fmt.Errorf("keys: %w", err))
	}
	if err := filter.CheckField(c.Header); err != nil {
		problems = append(problems, fmt.Errorf("header %q: %w", c.Header, err))
	}
	if c.UserHeader != "" {
		if err := filter.CheckField(c.UserHeader); err != nil {
			problems = append(problems, fmt.Errorf("user header %q: %w", c.UserHeader, err))
		}
	}
	return errors.Join(problems...)
}

// parseKeys reads a list: name:sha256:HEX a line, with the SHA-256 of the key. Empty lines and those that begin with #
// say nothing. A name may have several keys, one after the other or at the same time. Errors name the line, and nothing
// of what is in it.
func parseKeys(list []byte) (map[digest]string, error) {
	if len(list) > maxList {
		return nil, fmt.Errorf("the list has more than %d bytes", maxList)
	}
	keys := map[digest]string{}
	number := 0
	for line := range bytes.Lines(list) {
		number++
		text := strings.TrimRight(string(line), " \t\r\n")
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, encoded, found := strings.Cut(text, ":sha256:")
		if !found {
			return nil, fmt.Errorf("line %d: it is not `name:sha256:HEX`", number)
		}
		if name == "" || len(name) > maxName || !utf8.ValidString(name) || !filter.SafeValue(name) || strings.Contains(name, ":") {
			return nil, fmt.Errorf("line %d: a name has 1 to %d bytes of UTF-8, no colon, no control characters and no space at its ends", number, maxName)
		}
		var of digest
		if n, err := hex.Decode(of[:], []byte(encoded[:min(len(encoded), 2*len(of))])); err != nil || n != len(of) || len(encoded) != 2*len(of) {
			return nil, fmt.Errorf("line %d: a SHA-256 has 64 hexadecimal digits", number)
		}
		if of == sha256.Sum256(nil) {
			return nil, fmt.Errorf("line %d: this is the SHA-256 of nothing", number)
		}
		if _, twice := keys[of]; twice {
			return nil, fmt.Errorf("line %d: the key is there already", number)
		}
		if keys[of] = name; len(keys) > maxKeys {
			return nil, fmt.Errorf("there are more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in the list")
	}
	return keys, nil
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	keys, err := parseKeys(c.Keys)
	if err != nil {
		return nil, err
	}
	return &apikey{
		keys: keys, header: c.Header, forward: c.Forward, user: c.UserHeader, sealed: []string{c.UserHeader},
		challenge: `ApiKey realm="restricted", header=` + filter.Quote(c.Header),
	}, nil
}

type apikey struct {
	filter.Nop
	keys      map[digest]string
	header    string
	forward   bool
	user      string
	sealed    []string // the same
	challenge string
}

// Request implements filter.Filter.
func (f *apikey) Request(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	key, n := f.find(h)
	switch {
	case n > 1: // two parsers may choose differently
		return filter.Challenge(x, 400, exchange.BadRequest, f.challenge)
	case len(key) == 0:
		return filter.Challenge(x, 401, exchange.Unauthorized, f.challenge)
	case len(key) > maxKey:
		return filter.Challenge(x, 401, exchange.CredentialsInvalid, f.challenge)
	}
	name, ok := f.keys[sha256.Sum256(key)]
	if !ok {
		return filter.Challenge(x, 401, exchange.CredentialsInvalid, f.challenge)
	}
	x.Identity = exchange.Identity{User: name}
	if !f.forward {
		filter.RemoveField(h, f.header)
	}
	if f.user != "" {
		filter.RemoveField(h, f.user)
		x.Request.Seal(f.sealed)
		h.Add(f.user, name)
	}
	return filter.Continue
}

// find returns the key, and how many fields there are that could hold it. In Authorization it stands behind the name of
// a scheme, ApiKey or Bearer.
func (f *apikey) find(h *exchange.Header) (key []byte, n int) {
	if exchange.Lookup(f.header) == exchange.Authorization {
		for _, scheme := range [...]string{"ApiKey", "Bearer"} {
			switch key, found := filter.Credentials(h, scheme); found {
			case filter.Suitable:
				return key, 1
			case filter.Several:
				return nil, 2
			}
		}
		return nil, 0
	}
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok && exchange.EqualFold(name, f.header) {
			key = value
			n++
		}
	}
	return key, n
}

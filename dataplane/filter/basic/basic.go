package basic

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// maxCredentials is how long a name and a password may be, as they are sent.
const maxCredentials = 1024

// Config describes the filter.
type Config struct {
	Owner  string `outline:"-"` // the service, or the service and the route
	Users  []byte // a list of names and hashes
	Realm  string `outline:"show"`
	Header string `outline:"show"` // that tells the endpoint the name; empty: none
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("basic %q users %x realm %q header %q", c.Owner, sha256.Sum256(c.Users), c.Realm, c.Header)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if _, err := parseUsers(c.Users); err != nil {
		problems = append(problems, fmt.Errorf("users: %w", err))
	}
	if !filter.SafeValue(c.Realm) {
		problems = append(problems, errors.New("realm: it cannot stand in a header field"))
	}
	if c.Header != "" {
		if err := filter.CheckField(c.Header); err != nil {
			problems = append(problems, fmt.Errorf("header %q: %w", c.Header, err))
		}
	}
	return errors.Join(problems...)
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	users, err := parseUsers(c.Users)
	if err != nil {
		return nil, err
	}
	return &basic{
		judge: newJudge(users), header: c.Header, sealed: []string{c.Header},
		challenge: "Basic realm=" + filter.Quote(c.Realm) + `, charset="UTF-8"`,
	}, nil
}

type basic struct {
	filter.Nop
	judge     *judge
	header    string
	sealed    []string // the same
	challenge string
}

// Request implements filter.Filter. The password goes on to the endpoint, which may want it as well.
func (f *basic) Request(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	credentials, found := filter.Credentials(h, "Basic")
	switch {
	case found == filter.Several:
		return filter.Challenge(x, 400, exchange.BadRequest, f.challenge)
	case found != filter.Suitable:
		return filter.Challenge(x, 401, exchange.Unauthorized, f.challenge)
	case len(credentials) > maxCredentials:
		return filter.Challenge(x, 401, exchange.CredentialsInvalid, f.challenge)
	}
	of := f.judge.digest(credentials)
	name, ok := f.judge.remembers(of, time.Now())
	if !ok {
		given, password, readable := parse(credentials)
		if !readable {
			return filter.Challenge(x, 401, exchange.CredentialsInvalid, f.challenge)
		}
		x.Leave()
		switch f.judge.hash(of, given, password, x.ClientIP) {
		case unknown:
			return filter.Unavailable(x)
		case wrong:
			return filter.Challenge(x, 401, exchange.CredentialsInvalid, f.challenge)
		}
		name = given
	}
	x.Identity = exchange.Identity{User: name}
	if f.header != "" {
		filter.RemoveField(h, f.header)
		x.Request.Seal(f.sealed)
		h.Add(f.header, name)
	}
	return filter.Continue
}

// parse reads credentials (RFC 7617 §2): base64 of the name, a colon and the password, without control characters.
func parse(credentials []byte) (name string, password []byte, ok bool) {
	for _, c := range credentials { // the decoder would skip line breaks
		if c <= ' ' {
			return "", nil, false
		}
	}
	text, err := base64.StdEncoding.Strict().AppendDecode(nil, credentials)
	if err != nil || hasControl(string(text)) {
		return "", nil, false
	}
	before, after, found := bytes.Cut(text, []byte{':'})
	return string(before), after, found
}

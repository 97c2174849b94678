package jwt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter. A token must be of one of the providers, by its issuer.
type Config struct {
	Owner     string `outline:"-"` // the service, or the service and the route
	Providers []Provider
}

// A Provider is somebody whose tokens are believed. Either URL or Keys is set.
type Provider struct {
	Name       string        `outline:"show"`
	Issuer     string        `outline:"show"` // that the claim iss must name
	Audiences  []string      `outline:"show"` // one of which the claim aud must name; empty: any
	URL        string        `outline:"url"`  // of a JWK Set
	Keys       []byte        // a JWK Set
	Algorithms []string      `outline:"show"` // that signatures may have; empty: all that are known
	Required   []Requirement `outline:"show"`
	Headers    []ClaimHeader `outline:"show"`
	Cookie     string        `outline:"show"` // that holds the token where there is no Authorization
	Forward    bool          // the endpoint gets the token
	Leeway     time.Duration // how far the provider's clock may be off
}

// A Requirement is a claim and what it must say.
type Requirement struct{ Claim, Value string }

// A ClaimHeader is a claim and the header field that tells it to the endpoint.
type ClaimHeader struct{ Claim, Header string }

const maxLeeway = 5 * time.Minute

// Key implements filter.Config.
func (c Config) Key() string {
	out := fmt.Appendf(nil, "jwt %q", c.Owner)
	for _, p := range c.Providers {
		out = fmt.Appendf(out, " provider %q issuer %q audiences %q url %q keys %x algorithms %q required %q headers %q cookie %q forward %t leeway %d",
			p.Name, p.Issuer, p.Audiences, p.URL, sha256.Sum256(p.Keys), p.Algorithms, p.Required, p.Headers, p.Cookie, p.Forward, p.Leeway)
	}
	return string(out)
}

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	if len(c.Providers) == 0 {
		return errors.New("there is no provider")
	}
	var problems []error
	issuers := map[string]bool{}
	for i := range c.Providers {
		p := &c.Providers[i]
		for _, err := range p.check() {
			problems = append(problems, fmt.Errorf("provider %q: %w", p.Name, err))
		}
		if issuers[p.Issuer] {
			problems = append(problems, fmt.Errorf("provider %q: another one has the issuer %q", p.Name, p.Issuer))
		}
		issuers[p.Issuer] = true
	}
	return errors.Join(problems...)
}

func (p *Provider) check() (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if p.Name == "" {
		wrong("it has no name")
	}
	if p.Issuer == "" {
		wrong("it has no issuer")
	}
	for _, name := range p.Algorithms {
		if !slices.Contains(known(), name) {
			wrong("algorithm %q: must be one of %q", name, known())
		}
	}
	switch {
	case (p.URL != "") == (p.Keys != nil):
		wrong("exactly one of a URL and a set of keys is wanted")
	case p.URL != "":
		if u, err := url.Parse(p.URL); err != nil || !fetchable(u) {
			wrong("keys: must be at a http or https URL without a user")
		}
	default:
		if _, _, err := parseKeys(p.Keys, p.Algorithms); err != nil {
			wrong("keys: %w", err)
		}
	}
	for _, r := range p.Required {
		if r.Claim == "" {
			wrong("a required claim has no name")
		}
	}
	for _, h := range p.Headers {
		if err := filter.CheckField(h.Header); err != nil {
			wrong("the field %q of claim %q: %w", h.Header, h.Claim, err)
		}
	}
	if p.Leeway < 0 || p.Leeway > maxLeeway {
		wrong("leeway: must be 0 to %v", maxLeeway)
	}
	return problems
}

// fetchable reports whether keys may be fetched from there.
func fetchable(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// New implements filter.Config.
func (c Config) New(env filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	f := &tokens{providers: make(map[string]*provider, len(c.Providers)), cache: newCache()}
	for i := range c.Providers {
		p := &provider{Provider: c.Providers[i]}
		if p.URL == "" {
			keys, skipped, err := parseKeys(p.Keys, p.Algorithms)
			if err != nil {
				return nil, err
			}
			p.source = &source{}
			p.source.set.Store(&keySet{keys: keys})
			if len(skipped) > 0 {
				env.Log.Info("keys of a provider are not used", "provider", p.Name, "keys", skipped)
			}
		} else {
			p.source = newSource(p.Provider, env)
			if env.Fetch != nil && env.Background != nil { // else there never are keys, and nobody passes
				env.Background(p.source.run)
			}
		}
		p.Keys = nil
		f.providers[p.Issuer] = p
		if p.Cookie != "" && !slices.Contains(f.cookies, p.Cookie) {
			f.cookies = append(f.cookies, p.Cookie)
		}
		for _, h := range p.Headers {
			if !slices.Contains(f.removed, h.Header) {
				f.removed = append(f.removed, h.Header)
			}
		}
	}
	return f, nil
}

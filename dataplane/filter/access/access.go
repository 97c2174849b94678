package access

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter. Networks are written as 10.0.0.0/8, or as one address.
type Config struct {
	Owner string   `outline:"-"`    // a service, or a service and a route
	Allow []string `outline:"show"` // none: every address
	Deny  []string `outline:"show"` // wins over Allow
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("access %q allow %q deny %q", c.Owner, c.Allow, c.Deny)
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

func (c Config) build() (*access, error) {
	if len(c.Allow)+len(c.Deny) == 0 {
		return nil, errors.New("set `allow` or `deny`")
	}
	f := &access{}
	if len(c.Allow) > 0 {
		f.allow = &bart.Lite{}
	}
	var problems []error
	for _, s := range c.Allow {
		problems = append(problems, insert(f.allow, "allow", s))
	}
	for _, s := range c.Deny {
		problems = append(problems, insert(&f.deny, "deny", s))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return f, nil
}

func insert(set *bart.Lite, list, network string) error {
	p, err := parse(network)
	if err != nil {
		return fmt.Errorf("%s %q: %w", list, network, err)
	}
	set.Insert(p)
	return nil
}

// parse reads a network or an address. What IPv6 writes for an IPv4 one (RFC 4291, section 2.5.5.2) is that one: the
// addresses of clients come unmapped.
func parse(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("must be a network such as `10.0.0.0/8`, or an IP address")
	}
	if ip := p.Addr(); ip.Is4In6() {
		if p.Bits() < 96 {
			return p, errors.New("holds all IPv4 addresses and more: write the two networks that are meant")
		}
		p = netip.PrefixFrom(ip.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

type access struct {
	filter.Nop
	allow *bart.Lite // nil: every address
	deny  bart.Lite
}

// Request implements filter.Filter.
func (f *access) Request(x *exchange.Exchange) filter.Verdict {
	if ip := x.ClientIP.Unmap(); ip.IsValid() && !f.deny.Contains(ip) && (f.allow == nil || f.allow.Contains(ip)) {
		return filter.Continue
	}
	x.Answer(403, exchange.AccessDenied)
	return filter.Respond
}

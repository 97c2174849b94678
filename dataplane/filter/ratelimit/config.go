package ratelimit

import (
	"errors"
	"fmt"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// By says what a limit is counted for.
type By uint8

// What limits are counted for. A request that lacks the field, cookie or claim is counted for its client's address.
const (
	Service  By = iota // all requests together
	ClientIP           // an IPv6 network of /64 is one client
	Header
	Cookie
	JWTClaim
)

// Config describes the filter.
type Config struct {
	Owner              string `outline:"-"` // a service, or a service and a route: those who share one owner share the count
	Namespace, Service string `outline:"-"` // for metrics
	Name               string `outline:"show"`
	By                 By
	Field              string `outline:"show"` // the name of the header field, cookie or claim
	Requests           int    // that are allowed in a period
	Period             time.Duration
	Burst              int  // that may come at once
	Shared             bool // counted for all replicas together
	Observe            bool // what is above is let through
}

const (
	maxRequests = 1_000_000_000
	maxPeriod   = 24 * time.Hour
)

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("%s %q %q requests %d burst %d observe %t", c.Lineage(), c.Namespace, c.Service, c.Requests, c.Burst, c.Observe)
}

// Lineage implements filter.Heir: a limit of which only the numbers were changed goes on counting where it was. Not so one
// of another period: what was used of a day says nothing about a second.
func (c Config) Lineage() string {
	return fmt.Sprintf("ratelimit %q %q by %d %q period %d shared %t", c.Owner, c.Name, c.By, c.Field, c.Period, c.Shared)
}

// Validate says everything that keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if c.Name == "" || !plain(c.Name) {
		problems = append(problems, errors.New("name: must be printable ASCII, without quotation marks and backslashes"))
	}
	if c.By > JWTClaim {
		problems = append(problems, fmt.Errorf("key: unknown key %d", c.By))
	}
	if named := c.By >= Header; named != (c.Field != "") {
		problems = append(problems, errors.New("key_name: is for the keys Header, Cookie and JWTClaim, and must be set there"))
	}
	if c.Requests < 1 || c.Requests > maxRequests {
		problems = append(problems, fmt.Errorf("requests: must be between 1 and %d", maxRequests))
	}
	if c.Burst < 1 || c.Burst > maxRequests {
		problems = append(problems, fmt.Errorf("burst: must be between 1 and %d", maxRequests))
	}
	if c.Period < time.Second || c.Period > maxPeriod || c.Period%time.Second != 0 {
		problems = append(problems, fmt.Errorf("period_secs: must be between 1 and %d", int(maxPeriod/time.Second)))
	}
	return errors.Join(problems...)
}

// plain reports whether a text can stand between quotation marks as it is (RFC 9651 §3.3.3).
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// New implements filter.Config.
func (c Config) New(env filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return newLimit(c, env, newCounts()), nil
}

// Inherit implements filter.Heir.
func (c Config) Inherit(env filter.Env, from filter.Filter) (filter.Filter, error) {
	old, ok := from.(*limit)
	if !ok {
		return c.New(env)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return newLimit(c, env, old.counts), nil
}

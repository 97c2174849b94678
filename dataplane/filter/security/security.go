package security

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter. What is empty is not sent; X-Content-Type-Options: nosniff always is.
type Config struct {
	Owner             string `outline:"-"` // service and route
	HSTSMaxAge        int    // seconds; 0: no Strict-Transport-Security
	HSTSSubDomains    bool
	FrameOptions      string `outline:"show"`
	ReferrerPolicy    string `outline:"show"`
	ContentSecurity   string `outline:"show"`
	PermissionsPolicy string `outline:"show"`
}

const maxValue = 8192

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("security %q hsts %d %t frame %q referrer %q content %q permissions %q",
		c.Owner, c.HSTSMaxAge, c.HSTSSubDomains, c.FrameOptions, c.ReferrerPolicy, c.ContentSecurity, c.PermissionsPolicy)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	var problems []error
	if c.HSTSMaxAge < 0 {
		problems = append(problems, fmt.Errorf("hsts_max_age_secs: %d: must be 0 or more", c.HSTSMaxAge))
	}
	for _, f := range [...]struct{ name, value string }{
		{"frame_options", c.FrameOptions},
		{"referrer_policy", c.ReferrerPolicy},
		{"content_security_policy", c.ContentSecurity},
		{"permissions_policy", c.PermissionsPolicy},
	} {
		if len(f.value) > maxValue {
			problems = append(problems, fmt.Errorf("%s: must have at most %d bytes", f.name, maxValue))
		}
		for i := range len(f.value) {
			if b := f.value[i]; b < ' ' || b == 0x7f {
				problems = append(problems, fmt.Errorf("%s: must have no control characters", f.name))
				break
			}
		}
	}
	return errors.Join(problems...)
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	f := &security{}
	hsts := ""
	if c.HSTSMaxAge > 0 {
		hsts = "max-age=" + strconv.Itoa(c.HSTSMaxAge)
		if c.HSTSSubDomains {
			hsts += "; includeSubDomains"
		}
	}
	for _, one := range [...]field{
		{"Strict-Transport-Security", hsts, true},
		{"X-Content-Type-Options", "nosniff", false},
		{"X-Frame-Options", c.FrameOptions, false},
		{"Referrer-Policy", c.ReferrerPolicy, false},
		{"Content-Security-Policy", c.ContentSecurity, false},
		{"Permissions-Policy", c.PermissionsPolicy, false},
	} {
		if one.value != "" {
			f.fields = append(f.fields, one)
		}
	}
	return f, nil
}

type field struct {
	name, value string
	secure      bool // over TLS alone
}

type security struct {
	filter.Nop
	fields []field
}

// Response implements filter.Filter.
func (f *security) Response(x *exchange.Exchange) {
	if x.Response.Status == 101 { // what follows is no page
		return
	}
	h := &x.Response.Header
	present := uint(0) // a bit for each of the fields
	for i := range h.Len() {
		id, name, _, ok := h.At(i)
		if !ok || id != exchange.Other {
			continue
		}
		for j := range f.fields {
			if exchange.EqualFold(name, f.fields[j].name) {
				present |= 1 << j
			}
		}
	}
	for j := range f.fields {
		if one := &f.fields[j]; present>>j&1 == 0 && (!one.secure || secure(x)) {
			h.Add(one.name, one.value)
		}
	}
}

// secure says whether the client speaks TLS: to us, or to a trusted proxy, who knows it better.
func secure(x *exchange.Exchange) bool {
	if x.ClientTrusted {
		if proto := x.Request.Header.Value(exchange.XForwardedProto); proto != nil {
			return exchange.EqualFold(proto, "https")
		}
	}
	return x.Conn.Secure
}

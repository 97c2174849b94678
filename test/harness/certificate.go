package harness

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/authority"
)

// An Authority issues certificates.
type Authority = authority.Authority

// NewAuthority makes an authority of that name.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	return authority.New(t, name)
}

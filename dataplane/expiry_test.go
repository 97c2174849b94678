package dataplane

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestExpiriesOfEverything: of what clients and endpoints are shown, and of what theirs are verified with.
func TestExpiriesOfEverything(t *testing.T) {
	d := newPlane(t)
	ours := newAuthority(t)
	server := issue(t, 1, "a.example")
	s := secured("127.0.0.1:1", site{"a", []string{"a.example"}, asking(server, &snapshot.ClientAuth{CA: ours.pem})})
	shown := issue(t, 2, "proxy")
	s.Clusters[0].TLS = &snapshot.UpstreamTLS{CA: ours.pem, Certificate: &shown}
	apply(t, d, s)
	var roles []string
	for _, e := range d.expiries.List() {
		roles = append(roles, e.Role+" "+e.Name)
	}
	want := "clients a.example, verifying clients CN=authority, verifying endpoints CN=authority, endpoints proxy"
	if got := strings.Join(roles, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

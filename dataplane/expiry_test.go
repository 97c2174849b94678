package dataplane

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestExpiries: once a day, and of what ends within thirty days alone.
func TestExpiries(t *testing.T) {
	var lines []string
	x := newExpiries(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	x.now = func() time.Time { return now }
	day := 24 * time.Hour
	list := []expiry{
		{"shop", "clients", "soon", now.Add(29 * day)},
		{"shop", "clients", "later", now.Add(31 * day)},
		{"shop", "endpoints", "over", now.Add(-time.Hour)},
	}
	warned := func(what string, names ...string) {
		t.Helper()
		if len(lines) != len(names) {
			t.Errorf("%s: %q, want %q", what, lines, names)
			return
		}
		for i, name := range names {
			if !strings.Contains(lines[i], `"certificate"="`+name+`"`) || strings.Contains(lines[i], "has ended") != (name == "over") {
				t.Errorf("%s: %q, want %q", what, lines[i], name)
			}
		}
		lines = nil
	}
	x.follow(list)
	warned("at first", "soon", "over")
	x.follow(list)
	warned("after a reload")
	now = now.Add(23 * time.Hour)
	x.follow(list)
	warned("within a day")
	now = now.Add(2 * time.Hour)
	x.mu.Lock()
	x.look()
	x.mu.Unlock()
	warned("after a day", "soon", "later", "over")
	x.follow(list[:1])
	x.follow(list)
	warned("back again", "later", "over")
}

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
	for _, e := range d.expiries.list {
		roles = append(roles, e.role+" "+e.name)
	}
	want := "clients a.example, verifying clients CN=authority, verifying endpoints CN=authority, endpoints proxy"
	if got := strings.Join(roles, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

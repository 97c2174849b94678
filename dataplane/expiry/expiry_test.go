package expiry

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestExpiries: once a day, and of what ends within thirty days alone.
func TestExpiries(t *testing.T) {
	var lines []string
	x := New(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	x.now = func() time.Time { return now }
	day := 24 * time.Hour
	list := []Expiry{
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
	x.Follow(list)
	warned("at first", "soon", "over")
	x.Follow(list)
	warned("after a reload")
	now = now.Add(23 * time.Hour)
	x.Follow(list)
	warned("within a day")
	now = now.Add(2 * time.Hour)
	x.mu.Lock()
	x.look()
	x.mu.Unlock()
	warned("after a day", "soon", "later", "over")
	x.Follow(list[:1])
	x.Follow(list)
	warned("back again", "later", "over")
}

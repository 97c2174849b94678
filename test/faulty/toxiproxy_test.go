package faulty_test

import (
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func TestToxiproxy(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	link := faulty.StartToxiproxy(t).Link(t, origin.Addr)
	ask := func() (*harness.Response, error) {
		return harness.Dial(t, link.Addr).TryResponseTo("GET /?bytes=10000 HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	if r, err := ask(); err != nil || r.BodyErr != nil || len(r.Text) != 10000 {
		t.Errorf("%v %v", r, err)
	}
	link.Suffer(t, "downstream", "limit_data", map[string]int{"bytes": 5000})
	if r, err := ask(); err != nil || r.BodyErr == nil {
		t.Errorf("%v %v, want a body that is cut short", r, err)
	}
	for _, end := range []func(testing.TB){link.Recover, link.Renew} {
		end(t)
		if r, err := ask(); err != nil || r.BodyErr != nil {
			t.Errorf("%v %v", r, err)
		}
	}
}

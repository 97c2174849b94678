package fetcher

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFetchObeys the address policy, after names were resolved, and follows redirections on the same host alone.
func TestFetchObeys(t *testing.T) {
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	_, port, _ := net.SplitHostPort(elsewhere.Listener.Addr().String())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://localhost:"+port+"/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	defer server.Close()
	get := func(client *http.Client, url string) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	free, transport := New(nil)
	defer transport.CloseIdleConnections()
	if err := errors.Join(get(free, server.URL), get(free, server.URL+"/here")); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{"/away": "another host", "/loop": "too many"} {
		if err := get(free, server.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	strict, transport := New(func(addr netip.Addr) error {
		if addr.IsLoopback() {
			return errors.New("loopback is not allowed")
		}
		return nil
	})
	defer transport.CloseIdleConnections()
	for _, url := range []string{server.URL, "http://localhost:" + port} {
		if err := get(strict, url); err == nil || !strings.Contains(err.Error(), "loopback is not allowed") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

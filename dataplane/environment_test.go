package dataplane

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

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
	free, transport := newFetch(nil)
	defer transport.CloseIdleConnections()
	if err := errors.Join(get(free, server.URL), get(free, server.URL+"/here")); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{"/away": "another host", "/loop": "too many"} {
		if err := get(free, server.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	strict, transport := newFetch(func(addr netip.Addr) error {
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

// TestSendAsksAnEndpoint, another one where the first cannot be reached, and within its time.
func TestSendAsksAnEndpoint(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer origin.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	p := newPlane(t)
	s := &snapshot.Snapshot{Limits: snapshot.Limits{HeaderTimeout: time.Second, DrainTimeout: time.Second}, Clusters: []*snapshot.Cluster{{
		ID: "c", Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled},
	}}}
	for _, server := range []*httptest.Server{closed, origin} {
		addr := netip.MustParseAddrPort(server.Listener.Addr().String())
		s.Clusters[0].Endpoints = append(s.Clusters[0].Endpoints, snapshot.Endpoint{Addr: addr, Weight: 1})
	}
	if err := p.Apply(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	ask := func(cluster, path string, timeout time.Duration) (int, error) {
		x := &exchange.Exchange{}
		x.Request.Method, x.Request.MethodName, x.Request.Protocol = exchange.GET, []byte("GET"), exchange.HTTP11
		x.Request.Host, x.Request.Path = []byte("auth.example"), []byte(path)
		err := p.send(cluster, x, timeout)
		status := x.Response.Status
		x.ResetResponse()
		return status, err
	}
	for range 4 {
		if status, err := ask("c", "/", 10*time.Second); err != nil || status != http.StatusTeapot {
			t.Errorf("%d %v", status, err)
		}
	}
	var failure *exchange.Failure
	if _, err := ask("c", "/slow", 50*time.Millisecond); !errors.As(err, &failure) || failure.Reason != exchange.UpstreamTimeout {
		t.Errorf("a slow one: %v", err)
	}
	if _, err := ask("nowhere", "/", time.Second); !errors.As(err, &failure) || failure.Reason != exchange.NoEndpoints {
		t.Errorf("no cluster: %v", err)
	}
}

// TestCloseHangsUp: who ends waits for no answer to what the proxy itself asks.
func TestCloseHangsUp(t *testing.T) {
	asked := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer origin.Close()
	p := newPlane(t)
	s := &snapshot.Snapshot{Limits: snapshot.Limits{HeaderTimeout: time.Second, DrainTimeout: time.Second}, Clusters: []*snapshot.Cluster{{
		ID: "c", Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled},
		Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort(origin.Listener.Addr().String()), Weight: 1}},
	}}}
	if err := p.Apply(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		x := &exchange.Exchange{}
		x.Request.Method, x.Request.MethodName, x.Request.Protocol = exchange.GET, []byte("GET"), exchange.HTTP11
		x.Request.Host, x.Request.Path = []byte("shadow.example"), []byte("/")
		result <- p.send("c", x, time.Hour)
	}()
	<-asked
	p.Close()
	select {
	case err := <-result:
		if err == nil {
			t.Error("there is an answer")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits")
	}
}

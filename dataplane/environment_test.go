package dataplane

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

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

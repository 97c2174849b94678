package dataplane

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// fetch asks the address once, on a connection of its own.
func fetch(t testing.TB, address string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestPermit: no connection is opened to an address that is not permitted, neither for a request nor for a check, and
// another endpoint serves in its place.
func TestPermit(t *testing.T) {
	forbidden := netip.MustParseAddr("127.0.0.9")
	ln, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var accepted atomic.Int64
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = nc.Close()
		}
	}()
	asked := make(chan netip.Addr, 1000)
	d := New(Options{
		Log: logr.Discard(), Metrics: telemetry.NewMetrics("test"),
		Permit: func(addr netip.Addr) error {
			asked <- addr
			if addr == forbidden {
				return errors.New("it is a loopback address")
			}
			return nil
		},
	})
	t.Cleanup(d.Close)
	s := configuration("127.0.0.1:0", ln.Addr().String())
	apply(t, d, s)
	if status, body := fetch(t, d.Bound("127.0.0.1:0")); status != 502 || !strings.Contains(body, `"reason":"address_not_allowed"`) {
		t.Errorf("the answer is %d %s", status, body)
	}
	if len(asked) != 1 || <-asked != forbidden {
		t.Error("the policy was not asked once about the endpoint")
	}
	e := d.Clusters()[0].Endpoints[0]
	if !strings.Contains(e.LastError, "address_not_allowed: it is a loopback address") {
		t.Errorf("the endpoint's error is %q", e.LastError)
	}

	both := configuration("127.0.0.1:0", ln.Addr().String())
	both.Clusters[0].Endpoints = append(both.Clusters[0].Endpoints, snapshot.Endpoint{
		Addr: netip.MustParseAddrPort(rawOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")), Weight: 1,
	})
	both.Listeners[0].Routes[0].Retry.Attempts = 2
	apply(t, d, both)
	for range 4 {
		if status, body := fetch(t, d.Bound("127.0.0.1:0")); status != 200 {
			t.Errorf("with another endpoint the answer is %d %s", status, body)
		}
	}

	checked := configuration("127.0.0.1:0", ln.Addr().String())
	checked.Clusters[0].ID = "checked"
	checked.Listeners[0].Routes[0].Clusters[0].Cluster = "checked"
	checked.Clusters[0].Health = snapshot.HealthCheck{Timeout: time.Second, Interval: time.Hour, HealthyThreshold: 1, UnhealthyThreshold: 1}
	apply(t, d, checked)
	for at := time.Now(); d.Clusters()[0].Endpoints[0].Serving; {
		if time.Since(at) > 20*time.Second {
			t.Fatal("the check passes")
		}
		time.Sleep(time.Millisecond)
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

// TestOnEjected: it is told of an ejection, and one that never returns holds no request up.
func TestOnEjected(t *testing.T) {
	told, release := make(chan ejected, maxEjected), make(chan struct{})
	d := New(Options{
		Log: logr.Discard(), Metrics: telemetry.NewMetrics("test"),
		OnEjected: func(cluster string, endpoint netip.AddrPort) {
			told <- ejected{cluster, endpoint}
			<-release
		},
	})
	t.Cleanup(d.Close)
	t.Cleanup(func() { close(release) })
	s := configuration("127.0.0.1:0", rawOrigin(t, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
	s.Clusters[0].Passive = &snapshot.Passive{ConsecutiveErrors: 1, Ejection: time.Millisecond, MaxEjectionPercent: 100}
	apply(t, d, s)
	for range 20 { // more ejections than one, with the first one's report under way
		fetch(t, d.Bound("127.0.0.1:0"))
	}
	select {
	case e := <-told:
		if e != (ejected{"c", s.Clusters[0].Endpoints[0].Addr}) {
			t.Errorf("told of %v", e)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	watch := observer{metrics: telemetry.NewMetrics("test"), ejected: make(chan ejected)}
	watch.EndpointEjected("c", netip.AddrPort{}, "", 0) // nobody reads
}

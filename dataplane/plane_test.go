package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// newPlane starts a DataPlane that is closed with the test.
func newPlane(t testing.TB) *DataPlane {
	t.Helper()
	d := New(Options{Log: logr.Discard(), Metrics: telemetry.NewMetrics("test"), Resolver: resolver.Options{}})
	t.Cleanup(d.Close)
	return d
}

// configuration is one listener with one route to the endpoint.
func configuration(address, endpoint string, filters ...filter.Config) *snapshot.Snapshot {
	service := &snapshot.Service{Name: "test", IdleTimeout: time.Minute}
	return &snapshot.Snapshot{
		Hash: "test",
		Listeners: []*snapshot.Listener{{
			Address: address, Services: []*snapshot.Service{service},
			Routes: []*snapshot.Route{{
				Service: service, Name: "default", Filters: filters,
				Clusters: []snapshot.WeightedCluster{{Cluster: "c", Weight: 1}},
				Timeouts: snapshot.Timeouts{Connect: time.Second, Request: 10 * time.Second, Idle: time.Minute},
				Retry:    snapshot.Retry{Attempts: 1},
			}},
		}},
		Clusters: []*snapshot.Cluster{{
			ID: "c", Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort(endpoint), Weight: 1}},
			Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled},
		}},
		Limits:    snapshot.Limits{HeaderTimeout: 10 * time.Second, DrainTimeout: 5 * time.Second},
		AccessLog: snapshot.AccessLog{Path: "off", Format: "JSON"},
	}
}

func apply(t testing.TB, d *DataPlane, s *snapshot.Snapshot) {
	t.Helper()
	if err := d.Apply(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// rawOrigin answers every request of every connection with the same bytes, without allocating.
func rawOrigin(t testing.TB, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf, out := make([]byte, 4096), []byte(answer)
				for {
					if _, err := nc.Read(buf); err != nil {
						return
					}
					if _, err := nc.Write(out); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

// countingFilter counts its instances and their closing.
type countingFilter struct {
	filter.Nop
	closed *atomic.Int32
}

func (f countingFilter) Close() { f.closed.Add(1) }

type countingConfig struct {
	key          string
	made, closed *atomic.Int32
}

func (c countingConfig) Key() string { return c.key }

func (c countingConfig) New(filter.Env) (filter.Filter, error) {
	c.made.Add(1)
	return countingFilter{closed: c.closed}, nil
}

func TestFilterSurvivesApply(t *testing.T) {
	var made, closed atomic.Int32
	d := newPlane(t)
	origin := rawOrigin(t, "HTTP/1.1 204 No Content\r\n\r\n")
	for range 3 {
		apply(t, d, configuration("127.0.0.1:0", origin, countingConfig{"same", &made, &closed}))
	}
	if made.Load() != 1 || closed.Load() != 0 {
		t.Fatalf("made %d, closed %d", made.Load(), closed.Load())
	}
	apply(t, d, configuration("127.0.0.1:0", origin, countingConfig{"other", &made, &closed}))
	for closed.Load() == 0 { // behind the last request, in the background
		time.Sleep(time.Millisecond)
	}
	if made.Load() != 2 || closed.Load() != 1 {
		t.Fatalf("made %d, closed %d: a filter that nothing names must be closed, once", made.Load(), closed.Load())
	}
}

// TestFilterOutlivesItsConfiguration says that a dropped filter is closed only after the last request that it serves.
func TestFilterOutlivesItsConfiguration(t *testing.T) {
	var made, closed atomic.Int32
	d := newPlane(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(origin.Close)
	address := origin.Listener.Addr().String()
	apply(t, d, configuration("127.0.0.1:0", address, countingConfig{"old", &made, &closed}))
	answered := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + d.Bound("127.0.0.1:0"))
		if err == nil {
			_ = res.Body.Close()
		}
		answered <- err
	}()
	<-arrived
	apply(t, d, configuration("127.0.0.1:0", address))
	if closed.Load() != 0 {
		t.Fatal("closed under its request")
	}
	close(release)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	for closed.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestListenersFollowTheSnapshot(t *testing.T) {
	d := newPlane(t)
	origin := rawOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	apply(t, d, configuration("127.0.0.1:0", origin))
	bound := d.Bound("127.0.0.1:0")
	nc, err := net.Dial("tcp", bound)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	get := func() (*http.Response, error) {
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return res, err
	}
	if _, err := get(); err != nil {
		t.Fatal(err)
	}
	apply(t, d, configuration("127.0.0.1:0", origin))
	if again := d.Bound("127.0.0.1:0"); again != bound {
		t.Fatalf("bound to %s, then to %s", bound, again)
	}
	if res, err := get(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the open connection did not survive: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = d.Apply(context.Background(), configuration(taken.Addr().String(), origin))
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatalf("an address that is taken: %v", err)
	}
	if res, err := get(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("a refused configuration changed something: %v", err)
	}
	apply(t, d, configuration("127.0.0.2:0", origin))
	if _, err := net.DialTimeout("tcp", bound, time.Second); err == nil {
		t.Fatal("a removed address is still open")
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	d := newPlane(t)
	apply(t, d, configuration("127.0.0.1:0", rawOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), panicConfig{}))
	for range 2 {
		res, err := http.Get("http://" + d.Bound("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), string(exchange.Internal)) || !res.Close {
			t.Fatalf("%s: %s", res.Status, body)
		}
	}
}

type panicConfig struct{}

func (panicConfig) Key() string                           { return "panic" }
func (panicConfig) New(filter.Env) (filter.Filter, error) { return panicFilter{}, nil }

type panicFilter struct{ filter.Nop }

func (panicFilter) Request(*exchange.Exchange) filter.Verdict { panic("a filter's fault") }

func TestDrainFinishesWhatRuns(t *testing.T) {
	d := newPlane(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "finished")
	}))
	t.Cleanup(origin.Close)
	apply(t, d, configuration("127.0.0.1:0", origin.Listener.Addr().String()))
	body := make(chan string, 1)
	bound := d.Bound("127.0.0.1:0")
	go func() {
		res, err := http.Get("http://" + bound)
		if err != nil {
			body <- err.Error()
			return
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		body <- fmt.Sprint(string(text), res.Close)
	}()
	<-arrived
	drained := make(chan error, 1)
	go func() { drained <- d.Drain(context.Background()) }()
	for {
		nc, err := net.Dial("tcp", bound)
		if err != nil {
			break // nothing is accepted any more: draining has begun
		}
		_ = nc.Close()
	}
	if d.Ready() {
		t.Error("ready while draining")
	}
	close(release)
	if got := <-body; got != "finishedtrue" {
		t.Fatalf("the request that ran: %q", got)
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
}

// TestDrainEndsInTime holds a request open for longer than there is time.
func TestDrainEndsInTime(t *testing.T) {
	d := newPlane(t)
	arrived := make(chan struct{})
	release := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	t.Cleanup(origin.Close)
	t.Cleanup(func() { close(release) })
	s := configuration("127.0.0.1:0", origin.Listener.Addr().String())
	s.Limits.DrainTimeout = 50 * time.Millisecond
	apply(t, d, s)
	failed := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + d.Bound("127.0.0.1:0"))
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	if err := d.Drain(context.Background()); err == nil || !strings.Contains(err.Error(), "1 connection") {
		t.Fatalf("Drain: %v", err)
	}
	if err := <-failed; err == nil {
		t.Fatal("the request was answered")
	}
}

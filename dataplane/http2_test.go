package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// overHTTP2 is a client that keeps to one connection of HTTP/2; over TLS it opens that for serverName, whatever it asks for.
func overHTTP2(t testing.TB, d *DataPlane, serverName string) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", d.Bound("127.0.0.1:0"))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: serverName},
		Protocols:       &http.Protocols{},
	}
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get asks for a URL and returns the status, the body and the protocol.
func get(t testing.TB, c *http.Client, method, url, body string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.ProtoMajor != 2 {
		t.Errorf("%s: %s", url, res.Proto)
	}
	return res.StatusCode, string(text)
}

// echoOrigin is an origin that answers with the method, the host, X-Forwarded-Proto and the body.
func echoOrigin(t testing.TB) string {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.Host+" "+r.Header.Get("X-Forwarded-Proto")+" "+string(body))
	}))
	t.Cleanup(origin.Close)
	return origin.Listener.Addr().String()
}

func TestHTTP2WithPriorKnowledge(t *testing.T) {
	d := newPlane(t)
	apply(t, d, configuration("127.0.0.1:0", echoOrigin(t)))
	client := overHTTP2(t, d, "")
	for range 3 {
		if status, body := get(t, client, "POST", "http://a.example/", "body"); status != 200 || body != "POST a.example http body" {
			t.Errorf("%d %q", status, body)
		}
	}
	apply(t, d, configuration("127.0.0.1:0", echoOrigin(t))) // the connection stays
	if status, body := get(t, client, "GET", "http://a.example/", ""); status != 200 || body != "GET a.example http " {
		t.Errorf("%d %q", status, body)
	}
}

// TestHTTP2OverTLS serves each stream by its own host: one that the connection was not opened for is refused alone.
func TestHTTP2OverTLS(t *testing.T) {
	d := newPlane(t)
	shared := issue(t, 1, "*.example")
	apply(t, d, secured(echoOrigin(t),
		site{"a", []string{"a.example"}, single(shared)},
		site{"b", []string{"b.example"}, single(shared)},
		site{"other", []string{"other.test"}, single(issue(t, 2, "other.test"))},
	))
	client := overHTTP2(t, d, "a.example")
	for _, tt := range []struct {
		host   string
		status int
	}{{"a.example", 200}, {"b.example", 200}, {"other.test", 421}, {"a.example", 200}} {
		status, body := get(t, client, "GET", "https://"+tt.host+"/", "")
		if status != tt.status || status == 200 && body != "GET "+tt.host+" https " {
			t.Errorf("%s: %d %q", tt.host, status, body)
		}
	}
}

// TestHTTP2Cancel: a client that is not interested any more is not asked for at the endpoint any more.
func TestHTTP2Cancel(t *testing.T) {
	d := newPlane(t)
	arrived, canceled := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(canceled)
	}))
	t.Cleanup(origin.Close)
	apply(t, d, configuration("127.0.0.1:0", origin.Listener.Addr().String()))
	client := overHTTP2(t, d, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://a.example/", nil)
		_, err := client.Do(q)
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-canceled:
	case <-time.After(5 * time.Second):
		t.Error("the endpoint still works for nobody")
	}
}

// TestHTTP2Drain finishes what runs, and loses nothing.
func TestHTTP2Drain(t *testing.T) {
	d := newPlane(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "finished")
	}))
	t.Cleanup(origin.Close)
	apply(t, d, secured(origin.Listener.Addr().String(), site{"a", nil, single(issue(t, 1, "a.example"))}))
	client := overHTTP2(t, d, "a.example")
	body := make(chan string, 1)
	go func() {
		_, text := get(t, client, "GET", "https://a.example/", "")
		body <- text
	}()
	<-arrived
	drained := make(chan error, 1)
	go func() { drained <- d.Drain(context.Background()) }()
	for d.Ready() {
		time.Sleep(time.Millisecond)
	}
	close(release)
	if got := <-body; got != "finished" {
		t.Errorf("the request that ran: %q", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

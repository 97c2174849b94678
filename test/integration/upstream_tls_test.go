package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A secureOrigin is an Echo over TLS that counts its connections.
type secureOrigin struct {
	addr  string
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
}

// startSecure starts one that speaks HTTP/1.1 and HTTP/2. A nil config is plaintext.
func startSecure(t *testing.T, config *tls.Config, h http.Handler) *secureOrigin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &secureOrigin{addr: l.Addr().String(), conns: map[net.Conn]http.ConnState{}}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: harness.Patience, TLSConfig: config, Protocols: &http.Protocols{},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), ConnState: func(c net.Conn, s http.ConnState) {
			o.mu.Lock()
			o.conns[c] = s
			o.mu.Unlock()
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if config == nil {
			_ = srv.Serve(l)
		} else {
			_ = srv.ServeTLS(l, "", "")
		}
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return o
}

// opened is how many connections there were.
func (o *secureOrigin) opened() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

func serverConfig(a *harness.Authority, t *testing.T, names ...string) *tls.Config {
	t.Helper()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.Pair(t, names...)}}
}

// keep writes text to a file of the test's own, and returns its path.
func keep(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, []byte(text))
	return path
}

// clients are one of each protocol, over plain TCP.
func clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	all := map[string]*http.Client{}
	for name, h2 := range map[string]bool{"h1": false, "h2": true} {
		protocols := &http.Protocols{}
		protocols.SetHTTP1(!h2)
		protocols.SetUnencryptedHTTP2(h2)
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		all[name] = &http.Client{Transport: transport, Timeout: harness.Patience}
	}
	return all
}

func call(t *testing.T, c *http.Client, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestEndpointsOverTLS(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	ca := keep(t, "ca.pem", ours.PEM)
	for _, c := range []struct{ name, backend, tls, proto string }{
		{"HTTPS by itself", "", "server_name: a.test, ", "HTTP/1.1"},
		{"HTTPS", ", protocol: HTTPS", "server_name: a.test, ", "HTTP/1.1"},
		{"the address", ", protocol: HTTPS", "", "HTTP/1.1"},
		{"H2", ", protocol: H2", "server_name: a.test, ", "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := startSecure(t, serverConfig(ours, t, "a.test", "127.0.0.1"), harness.Echo("a"))
			p := harness.Start(t, fmt.Sprintf("services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s'%s}], upstream_tls: {%sca_ref: {file: '%s'}}}\n",
				origin.addr, c.backend, c.tls, ca), harness.Options{})
			for name, client := range clients(t) {
				for range 3 {
					response, text := call(t, client, "GET", p.URL(t, "web")+"/a?b=c", nil)
					if e := harness.ParseEchoed(t, text); response.StatusCode != http.StatusOK || e.Proto != c.proto || e.Target != "/a?b=c" {
						t.Errorf("%s: %d %+v", name, response.StatusCode, e)
					}
				}
				body := harness.Pattern(1 << 20)
				_, text := call(t, client, "PUT", p.URL(t, "web")+"/", strings.NewReader(body))
				if e := harness.ParseEchoed(t, text); e.Bytes != int64(len(body)) {
					t.Errorf("%s: %d bytes arrived", name, e.Bytes)
				}
				if _, text := call(t, client, "GET", p.URL(t, "web")+"/?bytes=1048576", nil); text != body {
					t.Errorf("%s: %d bytes came back", name, len(text))
				}
			}
			if n := origin.opened(); n > 6 {
				t.Errorf("%d connections: they are not used again", n)
			}
		})
	}
}

// TestEndpointsThatAreNotTrusted: every doubt ends in 502 and never in a request in other hands.
func TestEndpointsThatAreNotTrusted(t *testing.T) {
	t.Parallel()
	ours, theirs := harness.NewAuthority(t, "ours"), harness.NewAuthority(t, "theirs")
	ca, other := keep(t, "ca.pem", ours.PEM), keep(t, "other.pem", theirs.PEM)
	seen := func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s arrived", r.URL) }
	asking := serverConfig(ours, t, "a.test")
	asking.ClientAuth, asking.ClientCAs = tls.RequireAndVerifyClientCert, theirs.Pool()
	asking.MaxVersion = tls.VersionTLS12 // in 1.3 the refusal comes behind the handshake, and looks like a reset
	for _, c := range []struct {
		name, tls, protocol string
		config              *tls.Config
	}{
		{"another name", "server_name: b.test, ca_ref: {file: '" + ca + "'}", "HTTPS", serverConfig(ours, t, "a.test")},
		{"no name for the address", "ca_ref: {file: '" + ca + "'}", "HTTPS", serverConfig(ours, t, "a.test")},
		{"another authority", "server_name: a.test, ca_ref: {file: '" + other + "'}", "HTTPS", serverConfig(ours, t, "a.test")},
		{"the system's authorities", "server_name: a.test", "HTTPS", serverConfig(ours, t, "a.test")},
		{"no TLS", "server_name: a.test, ca_ref: {file: '" + ca + "'}", "HTTPS", nil},
		{"no certificate of ours", "server_name: a.test, ca_ref: {file: '" + ca + "'}", "HTTPS", asking},
		{"no HTTP/2", "server_name: a.test, ca_ref: {file: '" + ca + "'}", "H2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := startSecure(t, c.config, http.HandlerFunc(seen))
			s := front(t, "127.0.0.1:9", fmt.Sprintf("backends: [{address: '%s', protocol: %s}], retry: {attempts: 1}, timeouts: {connect_ms: 20000}, upstream_tls: {%s}, routes: [{name: r, backends: [{address: '%s', protocol: %s}]}]",
				origin.addr, c.protocol, c.tls, origin.addr, c.protocol), "")
			r := s.dial(t).Do(t, request("GET", "/"))
			if r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, `"reason":"upstream_tls"`) {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
			s.AwaitMetric(t, 1, "upstream_errors_total", "reason", "upstream_tls")
		})
	}
}

func TestCertificateForEndpoints(t *testing.T) {
	t.Parallel()
	ours, proxies := harness.NewAuthority(t, "ours"), harness.NewAuthority(t, "proxies")
	config := serverConfig(ours, t, "a.test")
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, proxies.Pool()
	origin := startSecure(t, config, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	chain, key := proxies.Issue(t, nil, "proxy-1")
	p := harness.Start(t, fmt.Sprintf(
		"services:\n  - {name: web, bind_address: '127.0.0.1:0', upstreams: ['%s'], upstream_tls: {server_name: a.test, ca_ref: {file: '%s'}, certificate: {cert_file: '%s', key_file: '%s'}}}\n",
		origin.addr, keep(t, "ca.pem", ours.PEM), keep(t, "c.pem", chain), keep(t, "k.pem", key)), harness.Options{})
	if _, text := call(t, clients(t)["h1"], "GET", p.URL(t, "web"), nil); text != "proxy-1" {
		t.Errorf("%q", text)
	}
}

// TestAnotherAuthorityAfterAReload: connections that were opened under the old authority are not used under the new one.
func TestAnotherAuthorityAfterAReload(t *testing.T) {
	t.Parallel()
	ours, theirs := harness.NewAuthority(t, "ours"), harness.NewAuthority(t, "theirs")
	for _, protocol := range []string{"HTTPS", "H2"} {
		origin := startSecure(t, serverConfig(ours, t, "a.test"), harness.Echo("a"))
		config := func(ca string) string {
			return fmt.Sprintf("services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s', protocol: %s}], retry: {attempts: 1}, upstream_tls: {server_name: a.test, ca_ref: {file: '%s'}}}\n",
				origin.addr, protocol, ca)
		}
		good, bad := keep(t, "ca.pem", ours.PEM), keep(t, "other.pem", theirs.PEM)
		p := harness.Start(t, config(good), harness.Options{})
		client := clients(t)["h1"]
		for _, step := range []struct {
			ca     string
			reload bool
			want   int
		}{{good, false, 200}, {bad, true, 502}, {good, true, 200}} {
			if step.reload {
				p.Reload(t, config(step.ca))
			}
			for range 3 {
				if response, text := call(t, client, "GET", p.URL(t, "web"), nil); response.StatusCode != step.want {
					t.Errorf("%s, %s: %d %s", protocol, filepath.Base(step.ca), response.StatusCode, text)
				}
			}
		}
	}
}

// TestTunnelToASecuredEndpoint carries a WebSocket's bytes to an endpoint over TLS.
func TestTunnelToASecuredEndpoint(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	origin := startSecure(t, serverConfig(ours, t, "a.test"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = nc.Close() }()
		_, _ = io.WriteString(nc, switching+"welcome")
		_, _ = io.Copy(nc, rw)
	}))
	s := front(t, "127.0.0.1:9", fmt.Sprintf("routes: [{name: r, backends: [{address: '%s', protocol: HTTPS}]}], upstream_tls: {server_name: a.test, ca_ref: {file: '%s'}}",
		origin.addr, keep(t, "ca.pem", ours.PEM)), "")
	c := upgraded(t, s, "/ws")
	if got := c.Read(t, 7); got != "welcome" {
		t.Errorf("%q", got)
	}
	text := harness.Pattern(2 << 20)
	sent := make(chan error, 1)
	go func() { sent <- c.TrySend(text) }()
	if got := c.Read(t, len(text)); !bytes.Equal([]byte(got), []byte(text)) {
		t.Error("other bytes came back than were sent")
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	c.CloseWrite(t)
	if rest, err := c.Rest(); rest != "" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

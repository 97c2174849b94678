package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// certificate returns one for 127.0.0.1, and the bundle that trusts it.
func certificate(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// behind is a listener that takes the PROXY header off each connection, and keeps it.
type behind struct {
	net.Listener
	mu    sync.Mutex
	heads []*proxyproto.Header
}

func (b *behind) Accept() (net.Conn, error) {
	nc, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(nc)
	h, err := proxyproto.Read(r)
	b.mu.Lock()
	b.heads = append(b.heads, h)
	b.mu.Unlock()
	return headed{nc, r}, err
}

type headed struct {
	net.Conn
	r io.Reader
}

func (h headed) Read(p []byte) (int, error) { return h.r.Read(p) }

// newSecured starts a server for both protocols, with or without TLS, whose answer is the number of the connection, and
// the protocol in X-Proto.
func newSecured(t testing.TB, config *tls.Config, wrap func(net.Listener) net.Listener) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	if wrap != nil {
		l = wrap(l)
	}
	number := 0
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Proto", r.Proto)
			_, _ = fmt.Fprint(w, r.Context().Value(connKey{}))
		}),
		ReadHeaderTimeout: time.Minute, TLSConfig: config, Protocols: &http.Protocols{},
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			number++
			return context.WithValue(ctx, connKey{}, number)
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if config != nil {
			_ = srv.ServeTLS(l, "", "")
		} else {
			_ = srv.Serve(l)
		}
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return addr
}

// TestNewSettingsLeaveOldConnections: what was opened under other settings is not used again, neither lying idle nor coming
// back, and what did not change is.
func TestNewSettingsLeaveOldConnections(t *testing.T) {
	cert, bundle := certificate(t)
	_, other := certificate(t)
	for _, protocol := range []snapshot.Protocol{snapshot.HTTP1, snapshot.HTTP2} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			at := newSecured(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil)
			settings := func(ca []byte) []*snapshot.Cluster {
				return []*snapshot.Cluster{{
					ID: "c", Protocol: protocol, TLS: &snapshot.UpstreamTLS{CA: ca}, Endpoints: []snapshot.Endpoint{{Addr: at, Weight: 1}},
				}}
			}
			cs := newClusters(t, Options{})
			cs.Apply(settings(bundle))
			e, _ := cs.Get("c").Pick(nil)
			for range 3 {
				if conn := get(t, e, newExchange()); conn != 1 {
					t.Errorf("connection %d, want the first again", conn)
				}
			}
			cs.Apply(settings(append([]byte(nil), bundle...))) // the same, read anew
			if conn := get(t, e, newExchange()); conn != 1 {
				t.Errorf("connection %d, though nothing has changed", conn)
			}
			x := newExchange() // runs while the settings change
			if err := e.RoundTrip(x, wait()); err != nil {
				t.Fatal(err)
			}
			cs.Apply(settings(other))
			var failure *exchange.Failure
			if err := e.RoundTrip(newExchange(), wait()); !errors.As(err, &failure) || failure.Reason != exchange.UpstreamTLS || failure.Sent {
				t.Errorf("another authority: %v", err)
			}
			if conn := body(t, x); conn != 1 {
				t.Errorf("what ran was not finished: %d", conn)
			}
			if err := e.RoundTrip(newExchange(), wait()); err == nil {
				t.Error("the connection that came back is used")
			}
			cs.Apply(settings(bundle))
			if conn := get(t, e, newExchange()); conn <= 1 {
				t.Errorf("connection %d", conn)
			}
			if n := e.InFlight(); n != 0 {
				t.Errorf("%d in flight", n)
			}
		})
	}
}

// TestProtocols: each kind of endpoint is spoken to as its cluster says, and connections are kept.
func TestProtocols(t *testing.T) {
	cert, bundle := certificate(t)
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	for _, c := range []struct {
		name     string
		config   *tls.Config
		protocol snapshot.Protocol
		want     string
	}{
		{"http", nil, snapshot.HTTP1, "HTTP/1.1"},
		{"https", config, snapshot.HTTP1, "HTTP/1.1"},
		{"h2c", nil, snapshot.HTTP2, "HTTP/2.0"},
		{"h2", config, snapshot.HTTP2, "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &snapshot.Cluster{ID: "c", Protocol: c.protocol, Endpoints: []snapshot.Endpoint{{Addr: newSecured(t, c.config.Clone(), nil), Weight: 1}}}
			if c.config != nil {
				s.TLS = &snapshot.UpstreamTLS{CA: bundle}
			}
			cs := newClusters(t, Options{})
			cs.Apply([]*snapshot.Cluster{s})
			e, _ := cs.Get("c").Pick(nil)
			for range 3 {
				x := newExchange()
				if err := e.RoundTrip(x, wait()); err != nil {
					t.Fatal(err)
				}
				if proto, _ := x.Response.Header.Get("X-Proto"); string(proto) != c.want || e.InFlight() != 1 {
					t.Errorf("%q, %d in flight", proto, e.InFlight())
				}
				if conn := body(t, x); conn != 1 || e.InFlight() != 0 {
					t.Errorf("connection %d, %d in flight", conn, e.InFlight())
				}
			}
		})
	}
}

// TestConnectionsWithAHeaderAreNotShared: a connection that was announced as one client's carries no other's requests.
func TestConnectionsWithAHeaderAreNotShared(t *testing.T) {
	for _, protocol := range []snapshot.Protocol{snapshot.HTTP1, snapshot.HTTP2} {
		var l *behind
		at := newSecured(t, nil, func(inner net.Listener) net.Listener {
			l = &behind{Listener: inner}
			return l
		})
		cs := newClusters(t, Options{})
		cs.Apply([]*snapshot.Cluster{{ID: "c", Protocol: protocol, ProxyProtocol: 2, Endpoints: []snapshot.Endpoint{{Addr: at, Weight: 1}}}})
		e, _ := cs.Get("c").Pick(nil)
		for i := range 3 {
			x := newExchange()
			x.Conn = &exchange.Conn{
				Remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:1000", i)), Local: netip.MustParseAddrPort("192.0.2.99:80"),
			}
			x.ClientIP = x.Conn.Remote.Addr()
			if i == 2 { // a trusted proxy says who it is
				x.ClientIP = netip.MustParseAddr("198.51.100.1")
			}
			if conn := get(t, e, x); conn != i+1 {
				t.Errorf("connection %d for request %d", conn, i)
			}
		}
		l.mu.Lock()
		for i, want := range []string{"192.0.2.0:1000", "192.0.2.1:1000", "198.51.100.1:0"} {
			if got := l.heads[i].SourceAddr.String(); got != want || l.heads[i].DestinationAddr.String() != "192.0.2.99:80" {
				t.Errorf("%s, want %s", got, want)
			}
		}
		l.mu.Unlock()
		if n := e.InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	}
}

func TestDialFor(t *testing.T) {
	cert, bundle := certificate(t)
	var l *behind
	at := newSecured(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, func(inner net.Listener) net.Listener {
		l = &behind{Listener: inner}
		return l
	})
	cs := newClusters(t, Options{})
	cs.Apply([]*snapshot.Cluster{{
		ID: "c", TLS: &snapshot.UpstreamTLS{CA: bundle}, ProxyProtocol: 1, Endpoints: []snapshot.Endpoint{{Addr: at, Weight: 1}},
	}})
	e, _ := cs.Get("c").Pick(nil)
	nc, err := e.DialFor(t.Context(), netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.99:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	conn, ok := nc.(*tls.Conn)
	if !ok || conn.ConnectionState().NegotiatedProtocol != "" {
		t.Fatalf("a %T", nc)
	}
	if _, ok := conn.NetConn().(*wire.Carrier); !ok {
		t.Errorf("over a %T", conn.NetConn())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := l.heads[0].SourceAddr.String(); got != "192.0.2.1:1000" || l.heads[0].Version != 1 {
		t.Errorf("%s", got)
	}
}

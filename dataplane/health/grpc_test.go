package health

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
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

// serveGRPC starts a gRPC server with the health service.
func serveGRPC(t testing.TB, o ...grpc.ServerOption) (netip.AddrPort, *grpchealth.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, health := grpc.NewServer(o...), grpchealth.NewServer()
	healthpb.RegisterHealthServer(srv, health)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), health
}

// next returns the next change.
func (w *world) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-w.changes:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing has changed for 20 s")
		return ""
	}
}

func grpcCheck(service string) snapshot.HealthCheck {
	return snapshot.HealthCheck{
		Type: upstream.CheckGRPC, Service: service, Timeout: 10 * time.Second, Interval: 10 * time.Millisecond,
		HealthyThreshold: 1, UnhealthyThreshold: 1,
	}
}

func TestGRPC(t *testing.T) {
	cert, bundle := certificate(t)
	for _, c := range []struct {
		name     string
		options  []grpc.ServerOption
		tls      *snapshot.UpstreamTLS
		protocol snapshot.Protocol
	}{
		{"plaintext", nil, nil, snapshot.HTTP2},
		{"plaintext, of an HTTP/1.1 cluster", nil, nil, snapshot.HTTP1},
		{"TLS", []grpc.ServerOption{grpc.Creds(credentials.NewServerTLSFromCert(&cert))}, &snapshot.UpstreamTLS{CA: bundle}, snapshot.HTTP2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, upstream.Options{})
			addr, server := serveGRPC(t, c.options...)
			server.SetServingStatus("shop", healthpb.HealthCheckResponse_NOT_SERVING)
			w.clusters.Apply([]*snapshot.Cluster{{
				ID: "c", Health: grpcCheck("shop"), Protocol: c.protocol, TLS: c.tls, Endpoints: []snapshot.Endpoint{{Addr: addr, Weight: 1}},
			}})
			w.checker.Sync(w.clusters.All())
			if got := w.next(t); got != "down: its gRPC health is NOT_SERVING" {
				t.Errorf("%q", got)
			}
			server.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
			if got := w.next(t); got != "up" {
				t.Errorf("%q", got)
			}
			server.Shutdown()
			if got := w.next(t); !strings.Contains(got, "NOT_SERVING") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestGRPCServerAsAWhole(t *testing.T) {
	w := newWorld(t, upstream.Options{})
	addr, _ := serveGRPC(t)
	w.apply(grpcCheck(""), addr)
	w.checker.Sync(w.clusters.All())
	<-w.checks
	if w.passed.Load() == 0 {
		t.Error("the first check failed")
	}
}

func TestGRPCFailures(t *testing.T) {
	unknown, _ := serveGRPC(t)
	web := serveHTTP(t, nil, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "hello") })
	broken := serveHTTP(t, nil, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	for _, c := range []struct {
		name string
		addr netip.AddrPort
		want string
	}{
		{"a service that it does not know", unknown, "down: it answered a gRPC health check with the status 5"},
		{"no gRPC", web, "down: its answer is not one of gRPC's health checking protocol"},
		{"an error", broken, "down: it answered 503 to a gRPC health check"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, upstream.Options{})
			w.apply(grpcCheck("other"), c.addr)
			w.checker.Sync(w.clusters.All())
			if got := w.next(t); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// serveHTTP starts a server that speaks HTTP/2 without TLS, or HTTP/1.1 and HTTP/2 with it.
func serveHTTP(t testing.TB, config *tls.Config, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, TLSConfig: config}
	serve := func() error { return srv.ServeTLS(l, "", "") }
	if config == nil {
		srv.Protocols = &http.Protocols{}
		srv.Protocols.SetUnencryptedHTTP2(true)
		serve = func() error { return srv.Serve(l) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve()
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// Checks speak what the cluster's endpoints speak.
func TestChecksSpeakTheProtocol(t *testing.T) {
	cert, bundle := certificate(t)
	config := func() *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	protocols := make(chan string, 1000)
	h := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case protocols <- r.Proto:
		default:
		}
	}
	trusted := &snapshot.UpstreamTLS{CA: bundle}
	for _, c := range []struct {
		name     string
		addr     netip.AddrPort
		tls      *snapshot.UpstreamTLS
		protocol snapshot.Protocol
		want     string // empty: the check fails
	}{
		{"h2c", serveHTTP(t, nil, h), nil, snapshot.HTTP2, "HTTP/2.0"},
		{"h2", serveHTTP(t, config(), h), trusted, snapshot.HTTP2, "HTTP/2.0"},
		{"TLS", serveHTTP(t, config(), h), trusted, snapshot.HTTP1, "HTTP/1.1"},
		{"TLS, not trusted", serveHTTP(t, config(), h), &snapshot.UpstreamTLS{}, snapshot.HTTP1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, upstream.Options{})
			check := grpcCheck("")
			check.Type = upstream.CheckHTTP
			w.clusters.Apply([]*snapshot.Cluster{{
				ID: "c", Health: check, Protocol: c.protocol, TLS: c.tls, Endpoints: []snapshot.Endpoint{{Addr: c.addr, Weight: 1}},
			}})
			w.checker.Sync(w.clusters.All())
			<-w.checks
			if c.want == "" {
				if got := w.next(t); !strings.Contains(got, "unknown authority") {
					t.Errorf("%q", got)
				}
				return
			}
			if got := <-protocols; got != c.want || w.passed.Load() == 0 {
				t.Errorf("%s, %d passed", got, w.passed.Load())
			}
		})
	}
}

// A TCP check asks only whether connections are taken, and says that it is the proxy's own where a PROXY header is due.
func TestTCPCheckOfASecuredEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads := make(chan *proxyproto.Header, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			if h, err := proxyproto.Read(bufio.NewReader(nc)); err == nil {
				select {
				case heads <- h:
				default:
				}
			}
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	w := newWorld(t, upstream.Options{})
	check := grpcCheck("")
	check.Type = upstream.CheckTCP
	w.clusters.Apply([]*snapshot.Cluster{{
		ID: "c", Health: check, TLS: &snapshot.UpstreamTLS{}, ProxyProtocol: 2,
		Endpoints: []snapshot.Endpoint{{Addr: l.Addr().(*net.TCPAddr).AddrPort(), Weight: 1}},
	}})
	w.checker.Sync(w.clusters.All())
	if h := <-heads; h.Command != proxyproto.LOCAL || h.Version != 2 {
		t.Errorf("%+v", h)
	}
	<-w.checks
	if w.passed.Load() == 0 {
		t.Error("the check failed")
	}
}

func TestHealthMessages(t *testing.T) {
	for _, service := range []string{"", "shop", strings.Repeat("x", 300)} {
		var got healthpb.HealthCheckRequest
		b := appendHealthRequest(nil, service)
		if err := proto.Unmarshal(b[grpcPrefix:], &got); err != nil || got.GetService() != service {
			t.Errorf("%q, %v", got.GetService(), err)
		}
	}
}

func FuzzHealthResponse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 7, 0x12, 1, 'x', 8, 2, 0x15})
	f.Fuzz(func(t *testing.T, b []byte) {
		status, ok := parseHealthResponse(b)
		if !ok {
			return
		}
		var m healthpb.HealthCheckResponse
		if err := proto.Unmarshal(b[grpcPrefix:], &m); err == nil && uint64(m.GetStatus()) != status && status < 1<<31 {
			t.Errorf("%x: %d, want %d", b, status, m.GetStatus())
		}
	})
}

package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

var loopback = net.IPv4(127, 0, 0, 1)

// open opens a connection and closes it; TLS tells the rest.
func open(t testing.TB, w *Way, addr netip.AddrPort, p Purpose) (tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var o Opener
	nc, err := o.Open(ctx, w, addr, p)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = nc.Close() }()
	conn, ok := nc.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, nil
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	return conn.ConnectionState(), nil
}

func TestVerification(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	named := listen(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair(t, ours.issue([]string{"a.test"}))}})
	numbered := listen(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair(t, ours.issue(nil, loopback))}})
	old := listen(t, &tls.Config{
		MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		Certificates: []tls.Certificate{pair(t, ours.issue([]string{"a.test"}))},
	})
	for _, c := range []struct {
		name     string
		endpoint *endpoint
		tls      snapshot.UpstreamTLS
		dns      string
		fails    string // a part of the error
	}{
		{"the name", named, snapshot.UpstreamTLS{CA: ours.pem, ServerName: "a.test"}, "", ""},
		{"the name of the cluster", named, snapshot.UpstreamTLS{CA: ours.pem}, "a.test", ""},
		{"the address", numbered, snapshot.UpstreamTLS{CA: ours.pem}, "", ""},
		{"another name", named, snapshot.UpstreamTLS{CA: ours.pem, ServerName: "b.test"}, "", "a.test"},
		{"another name than the cluster's", named, snapshot.UpstreamTLS{CA: ours.pem}, "b.test", "a.test"},
		{"no name for the address", named, snapshot.UpstreamTLS{CA: ours.pem}, "", "127.0.0.1"},
		{"another authority", named, snapshot.UpstreamTLS{CA: theirs.pem, ServerName: "a.test"}, "", "unknown authority"},
		{"the system's authorities", named, snapshot.UpstreamTLS{ServerName: "a.test"}, "", "unknown authority"},
		{"insecure", named, snapshot.UpstreamTLS{CA: theirs.pem, ServerName: "b.test", Insecure: true}, "", ""},
		{"old versions", old, snapshot.UpstreamTLS{CA: ours.pem, ServerName: "a.test"}, "", "protocol version"},
		{"old versions, insecure", old, snapshot.UpstreamTLS{Insecure: true}, "", "protocol version"},
		{"invalid", named, snapshot.UpstreamTLS{Insecure: true, Invalid: "there is no such Secret"}, "", "no such Secret"},
		{"no bundle", named, snapshot.UpstreamTLS{CA: []byte("nothing")}, "a.test", "holds no certificate"},
		{"a bad bundle", named, snapshot.UpstreamTLS{
			CA: append(ours.pem[:len(ours.pem):len(ours.pem)], "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...),
		}, "a.test", "bundle cannot be used"},
		{"a bad certificate of ours", named, snapshot.UpstreamTLS{CA: ours.pem, Certificate: &snapshot.Certificate{Name: "c"}}, "a.test", "certificate c cannot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := &snapshot.Cluster{TLS: &c.tls}
			if c.dns != "" {
				cluster.DNS = &snapshot.DNSName{Host: c.dns}
			}
			state, err := open(t, New(cluster), c.endpoint.addr, Purpose{HTTP: true})
			if c.fails == "" {
				if err != nil || state.Version < tls.VersionTLS12 {
					t.Errorf("version %x, %v", state.Version, err)
				}
				return
			}
			var failure *exchange.Failure
			if !errors.As(err, &failure) || failure.Reason != exchange.UpstreamTLS || failure.Sent || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("the error is %v, want one with %q", err, c.fails)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("it tells the key")
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	ours, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
	e := listen(t, &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, // in 1.3 the refusal comes behind the handshake
		Certificates: []tls.Certificate{pair(t, ours.issue([]string{"a.test"}))},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients.pool(),
	})
	for _, c := range []struct {
		name string
		cert *snapshot.Certificate
		ok   bool
	}{
		{"none", nil, false},
		{"the right one", clients.issue([]string{"proxy"}), true},
		{"another", others.issue([]string{"proxy"}), false},
	} {
		w := New(&snapshot.Cluster{TLS: &snapshot.UpstreamTLS{ServerName: "a.test", CA: ours.pem, Certificate: c.cert}})
		_, err := open(t, w, e.addr, Purpose{HTTP: true})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestNegotiation(t *testing.T) {
	ours := newAuthority(t)
	cert := []tls.Certificate{pair(t, ours.issue([]string{"a.test"}))}
	for _, c := range []struct {
		name     string
		offered  []string // by the endpoint
		protocol snapshot.Protocol
		http     bool
		want     string
		fails    bool
	}{
		{"HTTP/1.1", []string{"h2", "http/1.1"}, snapshot.HTTP1, true, "http/1.1", false},
		{"HTTP/1.1 without ALPN", nil, snapshot.HTTP1, true, "", false},
		{"HTTP/2", []string{"http/1.1", "h2"}, snapshot.HTTP2, true, "h2", false},
		{"HTTP/2 without ALPN", nil, snapshot.HTTP2, true, "", true},
		{"HTTP/2 refused", []string{"http/1.1"}, snapshot.HTTP2, true, "", true},
		{"no HTTP", []string{"other"}, snapshot.HTTP1, false, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := listen(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: cert, NextProtos: c.offered})
			w := New(&snapshot.Cluster{Protocol: c.protocol, TLS: &snapshot.UpstreamTLS{ServerName: "a.test", CA: ours.pem}})
			state, err := open(t, w, e.addr, Purpose{HTTP: c.http})
			if (err != nil) != c.fails || state.NegotiatedProtocol != c.want {
				t.Errorf("%q, %v", state.NegotiatedProtocol, err)
			}
		})
	}
}

// Sessions are resumed, but never by a cluster whose settings differ: the endpoint's certificate is not shown again then.
func TestSessions(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	e := listen(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair(t, ours.issue([]string{"a.test"}, loopback))}})
	for _, name := range []string{"a.test", ""} {
		w := New(&snapshot.Cluster{TLS: &snapshot.UpstreamTLS{ServerName: name, CA: ours.pem}})
		for i := range 3 {
			state, err := open(t, w, e.addr, Purpose{HTTP: true})
			if err != nil || state.DidResume != (i > 0) {
				t.Errorf("name %q, connection %d: resumed %t, %v", name, i, state.DidResume, err)
			}
		}
		if _, err := open(t, New(&snapshot.Cluster{TLS: &snapshot.UpstreamTLS{ServerName: name, CA: theirs.pem}}), e.addr, Purpose{}); err == nil {
			t.Error("another authority is not asked for")
		}
	}
}

func TestHandshakeTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its connections are accepted by the kernel alone
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var o Opener
	_, err = o.Open(ctx, New(&snapshot.Cluster{TLS: &snapshot.UpstreamTLS{}}), l.Addr().(*net.TCPAddr).AddrPort(), Purpose{HTTP: true})
	var failure *exchange.Failure
	if !errors.As(err, &failure) || failure.Reason != exchange.ConnectTimeout {
		t.Errorf("the error is %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	v4, v4local := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.9:80")
	v6 := netip.MustParseAddrPort("[2001:db8::1]:1234")
	for _, c := range []struct {
		name          string
		version       uint8
		client, local netip.AddrPort
		want          string // source and destination; empty: the proxy speaks for itself
	}{
		{"v1", 1, v4, v4local, "192.0.2.1:1234 192.0.2.9:80"},
		{"v2", 2, v4, v4local, "192.0.2.1:1234 192.0.2.9:80"},
		{"mapped", 1, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1234"), v4local, "192.0.2.1:1234 192.0.2.9:80"},
		{"IPv6", 2, v6, netip.MustParseAddrPort("[2001:db8::2]:80"), "[2001:db8::1]:1234 [2001:db8::2]:80"},
		{"no port", 1, netip.MustParseAddrPort("192.0.2.1:0"), v4local, "192.0.2.1:0 192.0.2.9:80"},
		{"of the proxy itself, v1", 1, netip.AddrPort{}, netip.AddrPort{}, ""},
		{"of the proxy itself, v2", 2, netip.AddrPort{}, netip.AddrPort{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			w := New(&snapshot.Cluster{ProxyProtocol: c.version})
			var o Opener
			nc, err := o.Open(t.Context(), w, l.Addr().(*net.TCPAddr).AddrPort(), Purpose{HTTP: true, Client: c.client, Local: c.local})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := nc.(*net.TCPConn); !ok {
				t.Errorf("the connection is a %T", nc)
			}
			defer func() { _ = nc.Close() }()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = far.Close() }()
			_ = far.SetDeadline(time.Now().Add(patience))
			header, err := proxyproto.Read(bufio.NewReader(far))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if header.Command != proxyproto.LOCAL {
				got = header.SourceAddr.String() + " " + header.DestinationAddr.String()
			}
			if header.Version != c.version || got != c.want {
				t.Errorf("version %d, %q", header.Version, got)
			}
		})
	}
}

// Only a change that matters for connections makes another way.
func TestSame(t *testing.T) {
	ours := newAuthority(t)
	cert := ours.issue([]string{"proxy"})
	base := func() *snapshot.Cluster {
		return &snapshot.Cluster{
			DNS: &snapshot.DNSName{Host: "a.test"},
			TLS: &snapshot.UpstreamTLS{CA: ours.pem, Certificate: &snapshot.Certificate{Chain: cert.Chain, Key: cert.Key}},
		}
	}
	for name, change := range map[string]func(*snapshot.Cluster){
		"plaintext":      func(c *snapshot.Cluster) { c.TLS = nil },
		"protocol":       func(c *snapshot.Cluster) { c.Protocol = snapshot.HTTP2 },
		"PROXY header":   func(c *snapshot.Cluster) { c.ProxyProtocol = 2 },
		"name":           func(c *snapshot.Cluster) { c.TLS.ServerName = "b.test" },
		"default name":   func(c *snapshot.Cluster) { c.DNS.Host = "b.test" },
		"CA":             func(c *snapshot.Cluster) { c.TLS.CA = newAuthority(t).pem },
		"insecure":       func(c *snapshot.Cluster) { c.TLS.Insecure = true },
		"invalid":        func(c *snapshot.Cluster) { c.TLS.Invalid = "x" },
		"no certificate": func(c *snapshot.Cluster) { c.TLS.Certificate = nil },
		"certificate":    func(c *snapshot.Cluster) { c.TLS.Certificate = ours.issue(nil) },
	} {
		changed := base()
		change(changed)
		if Same(base(), changed) || Same(changed, base()) {
			t.Errorf("%s: the same", name)
		}
		if !Same(changed, changed) {
			t.Errorf("%s: not the same as itself", name)
		}
	}
	other := base()
	other.Algorithm, other.Health.Path, other.TLS.ServerName = snapshot.Random, "/x", "a.test"
	if !Same(base(), other) {
		t.Error("what does not matter makes another way")
	}
}

package dial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// maxSessions is how many TLS sessions of a cluster's endpoints are kept, to be resumed by later connections.
const maxSessions = 64

// A Way is how the endpoints of one cluster are reached. It is immutable but for the TLS sessions that it remembers.
type Way struct {
	protocol snapshot.Protocol
	proxy    uint8       // the version of the PROXY header; 0: none
	config   *tls.Config // nil: plaintext
	name     string      // that certificates are checked against; empty: each endpoint's address
	invalid  error       // why no connection can be had
}

// New returns the way to the endpoints of a cluster. Settings that cannot be used make every Open fail.
func New(c *snapshot.Cluster) *Way {
	w := &Way{protocol: c.Protocol, proxy: c.ProxyProtocol}
	s := c.TLS
	if s == nil {
		return w
	}
	if s.Invalid != "" {
		w.invalid = errors.New(s.Invalid)
		return w
	}
	w.name = nameOf(c)
	w.config = &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: w.name, ClientSessionCache: tls.NewLRUClientSessionCache(maxSessions),
		InsecureSkipVerify: s.Insecure, //nolint:gosec // false unless the user asks for it by name
	}
	if len(s.CA) > 0 {
		if w.config.RootCAs, w.invalid = authorities(s.CA); w.invalid != nil {
			return w
		}
	}
	if s.Certificate != nil {
		pair, err := tls.X509KeyPair(s.Certificate.Chain, s.Certificate.Key)
		if err != nil {
			w.invalid = fmt.Errorf("the client certificate %s cannot be used: %w", s.Certificate.Name, err)
			return w
		}
		// Not Certificates: of those crypto/tls shows none to an endpoint that asks for another authority's, and says nothing.
		w.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return w
}

// nameOf is the name that the certificates of a cluster's endpoints are checked against.
func nameOf(c *snapshot.Cluster) string {
	switch {
	case c.TLS.ServerName != "":
		return c.TLS.ServerName
	case c.DNS != nil:
		return c.DNS.Host
	}
	return ""
}

// authorities reads a bundle. One bad certificate makes all of it bad: which one was to be trusted is not to be guessed.
func authorities(bundle []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := bundle; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the CA bundle cannot be used: %w", err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errors.New("the CA bundle holds no certificate")
	}
	return pool, nil
}

// Same reports whether connections to the endpoints of a are as good for those of b.
func Same(a, b *snapshot.Cluster) bool {
	if a.Protocol != b.Protocol || a.ProxyProtocol != b.ProxyProtocol || (a.TLS == nil) != (b.TLS == nil) {
		return false
	}
	return a.TLS == nil || nameOf(a) == nameOf(b) && sameTLS(a.TLS, b.TLS)
}

func sameTLS(a, b *snapshot.UpstreamTLS) bool {
	if a.Insecure != b.Insecure || a.Invalid != b.Invalid || !bytes.Equal(a.CA, b.CA) ||
		(a.Certificate == nil) != (b.Certificate == nil) {
		return false
	}
	return a.Certificate == nil ||
		bytes.Equal(a.Certificate.Chain, b.Certificate.Chain) && bytes.Equal(a.Certificate.Key, b.Certificate.Key)
}

// HTTP2 reports whether the endpoints speak HTTP/2.
func (w *Way) HTTP2() bool { return w.protocol == snapshot.HTTP2 }

// Secure reports whether the endpoints speak TLS.
func (w *Way) Secure() bool { return w.config != nil }

// Shared reports whether a connection may serve one client after another. One with a PROXY header is its client's alone.
func (w *Way) Shared() bool { return w.proxy == 0 }

// A Purpose says what a connection is for.
type Purpose struct {
	// HTTP says that the cluster's protocol will be spoken, so that it is negotiated. Without it the bytes are somebody else's.
	HTTP bool
	// HTTP2 makes that protocol HTTP/2, whatever it is.
	HTTP2 bool
	// Plain leaves TLS out: only whether the endpoint takes connections is asked.
	Plain bool
	// Client and Local are the two ends of the connection that the PROXY header tells of. Without Client the header says
	// that the proxy speaks for itself.
	Client, Local netip.AddrPort
}

// Ready makes a connection that was just opened to addr ready for its purpose. An error is an *exchange.Failure, and the
// connection is closed. Where there is no TLS it returns nc itself.
func (w *Way) Ready(ctx context.Context, nc net.Conn, addr netip.Addr, p Purpose) (net.Conn, error) {
	reason := exchange.ConnectFailed
	var err error
	if w.proxy != 0 {
		err = w.announce(ctx, nc, p)
	}
	if err == nil && w.config != nil && !p.Plain {
		reason = exchange.UpstreamTLS
		var conn net.Conn
		if conn, err = w.secure(ctx, nc, addr, p); err == nil {
			return conn, nil
		}
	}
	if err == nil {
		return nc, nil
	}
	_ = nc.Close()
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		reason = exchange.ConnectTimeout
	}
	return nil, &exchange.Failure{Reason: reason, Err: err}
}

// Check reports why no connection can be had, before one is opened.
func (w *Way) Check() error {
	if w.invalid != nil {
		return &exchange.Failure{Reason: exchange.UpstreamTLS, Err: w.invalid}
	}
	return nil
}

// secure makes the handshake.
func (w *Way) secure(ctx context.Context, nc net.Conn, addr netip.Addr, p Purpose) (net.Conn, error) {
	config := w.config
	want := ""
	if p.HTTP {
		want = "http/1.1"
		if p.HTTP2 || w.HTTP2() {
			want = "h2"
		}
	}
	if w.name == "" || want != "" {
		config = config.Clone() // shares the sessions, which are kept by name
		if w.name == "" {
			config.ServerName = addr.WithZone("").String()
		}
		if want != "" {
			config.NextProtos = []string{want}
		}
	}
	under := nc
	if tcp, ok := nc.(*net.TCPConn); ok {
		under = wire.NewCarrier(tcp)
	}
	conn := tls.Client(under, config)
	done := make(chan error, 1)
	go func() { done <- conn.HandshakeContext(ctx) }() // with a stack of its own, which is large, and which a request would keep
	if err := <-done; err != nil {
		return nil, err
	}
	if got := conn.ConnectionState().NegotiatedProtocol; want == "h2" && got != want {
		return nil, errors.New("the endpoint did not agree to HTTP/2 (ALPN h2)")
	}
	return conn, nil
}

// announce writes the PROXY header.
func (w *Way) announce(ctx context.Context, nc net.Conn, p Purpose) error {
	header, err := proxyHeader(w.proxy, p.Client, p.Local)
	if err != nil {
		return err
	}
	if end, ok := ctx.Deadline(); ok {
		_ = nc.SetWriteDeadline(end)
	}
	_, err = nc.Write(header)
	_ = nc.SetWriteDeadline(time.Time{})
	return err
}

package material

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Secrets are what clients and proxies need for TLS and tokens. They are worth nothing.
type Secrets struct {
	Cert, Key, Pair string // files
	JWKS, Token     string
	// Roots are what a client trusts that trusts the certificate.
	Roots *x509.CertPool
}

// NewSecrets makes them, with their files in dir.
func NewSecrets(dir string) (Secrets, error) {
	s := Secrets{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.Key"), Pair: filepath.Join(dir, "tls.pem")}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return s, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return s, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return s, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	s.Roots = x509.NewCertPool()
	s.Roots.AppendCertsFromPEM(chain)
	s.JWKS, s.Token, err = newToken()
	return s, errors.Join(err, os.WriteFile(s.Cert, chain, 0o600), os.WriteFile(s.Key, key, 0o600), os.WriteFile(s.Pair, append(chain, key...), 0o600))
}

// newToken makes a key set with one key, and a token that it has signed.
func newToken() (jwks, token string, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	text := base64.RawURLEncoding.EncodeToString
	jwks = fmt.Sprintf(`{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "bench", "x": "%s"}]}`, text(public))
	claims := fmt.Sprintf(`{"iss": "https://id.example", "sub": "bench", "exp": %d}`, time.Now().Add(24*time.Hour).Unix())
	signed := text([]byte(`{"alg": "EdDSA", "kid": "bench"}`)) + "." + text([]byte(claims))
	return jwks, signed + "." + text(ed25519.Sign(private, []byte(signed))), nil
}

// A SpanSink is a collector of spans that throws them away.
type SpanSink struct {
	Addr   string
	server *http.Server
	done   chan struct{}
}

// NewSpanSink starts one on the loopback. The caller closes it.
func NewSpanSink() (*SpanSink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &SpanSink{Addr: ln.Addr().String(), done: make(chan struct{})}
	s.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(ln)
	}()
	return s, nil
}

// Close may be called for one that was never made.
func (s *SpanSink) Close() {
	if s != nil {
		_ = s.server.Close()
		<-s.done
	}
}

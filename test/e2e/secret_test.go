package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const secureHost = "secure.example.com"

// testSecret makes, rotates, breaks and removes the Secret that a ProxyService names for TLS.
func testSecret(t *testing.T, c *cluster) {
	c.site(t)
	c.kubectl(t, "delete", "--filename", "testdata/tls.yaml", "--ignore-not-found")
	c.kubectl(t, "delete", "secret", "secure", "--namespace", space, "--ignore-not-found")
	c.clean(t, "kubectl", "delete", "--filename", "testdata/tls.yaml", "--ignore-not-found")
	first, second := newCertificate(t, "first"), newCertificate(t, "second")

	// The object comes before its Secret.
	c.apply(t, "tls.yaml")
	eventually(t, time.Minute, c.secureIs(t, "ResolvedRefs", "False", "InvalidCertificateRef"))
	plain := c.load(t, c.through(c.workers[1]))
	c.secret(t, first)
	c.kubectl(t, "wait", "--for=condition=Programmed", "--timeout=60s", "--namespace", space, "proxyservice/secure")
	var address string
	eventually(t, time.Minute, func() error {
		port, err := c.nodePort(t.Context(), home, release, 443)
		address = net.JoinHostPort(c.workers[0].address, fmt.Sprint(port))
		return err
	})
	eventually(t, time.Minute, func() error { return serves(t, address, "first") })

	l := startTLSLoad(t, address, first, second)
	c.secret(t, second)
	eventually(t, time.Minute, func() error { return l.sees("second", 200) })
	l.stop(t, c, "the Secret of a certificate is rotated")

	// Without its certificate the host's handshakes fail, and no other's requests do.
	c.kubectl(t, "delete", "secret", "secure", "--namespace", space)
	eventually(t, time.Minute, c.secureIs(t, "ResolvedRefs", "False", "InvalidCertificateRef"))
	eventually(t, time.Minute, func() error {
		if err := serves(t, address, "second"); err == nil {
			return errors.New("the certificate serves on without its Secret")
		}
		return nil
	})
	c.secret(t, first)
	eventually(t, time.Minute, func() error { return serves(t, address, "first") })
	plain.stop(t, "a Secret appears, is rotated, vanishes and comes back: requests to another ProxyService", loss{})
}

// secureIs complains unless ProxyService secure has a condition.
func (c *cluster) secureIs(t *testing.T, kind, status, reason string) func() error {
	return func() error {
		s, err := c.proxyService(t.Context(), "secure")
		if err != nil {
			return err
		}
		return s.condition(kind, status, reason)
	}
}

// A certificate is self-signed, and its subject names it.
type certificate struct {
	name      string
	cert, key []byte // PEM
}

func newCertificate(t *testing.T, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{secureHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		name: name,
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// secret writes a certificate into the Secret, as cert-manager does.
func (c *cluster) secret(t *testing.T, from certificate) {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := errors.Join(os.WriteFile(cert, from.cert, 0o600), os.WriteFile(key, from.key, 0o600)); err != nil {
		t.Fatal(err)
	}
	manifest := c.kubectl(t, "create", "secret", "tls", "secure", "--namespace", space, "--cert", cert, "--key", key, "--dry-run=client", "--output=yaml")
	c.run(t, manifest, "kubectl", "apply", "--filename", "-")
}

// serves complains unless a handshake shows the certificate with the name.
func serves(t *testing.T, address, name string) error {
	dialer := tls.Dialer{Config: &tls.Config{ServerName: secureHost, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != name {
		return fmt.Errorf("the certificate is %q, want %q", got, name)
	}
	return nil
}

// A tlsLoad are clients that open a connection for each request and trust two certificates.
type tlsLoad struct {
	done    chan struct{}
	once    sync.Once
	workers sync.WaitGroup

	mu         sync.Mutex
	seen       map[string]int // answers, by the certificate's name
	sent, lost int
	losses     []string
}

func startTLSLoad(t *testing.T, address string, trusted ...certificate) *tlsLoad {
	t.Helper()
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AppendCertsFromPEM(c.cert)
	}
	l := &tlsLoad{done: make(chan struct{}), seen: map[string]int{}}
	for range 4 {
		transport := &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{ServerName: secureHost, RootCAs: pool, MinVersion: tls.VersionTLS12},
		}
		asking := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		l.workers.Go(func() {
			for {
				select {
				case <-l.done:
					return
				case <-time.After(10 * time.Millisecond): // leaves others something of the machine
				}
				l.note(handshake(asking, address))
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// handshake sends one request and returns the name of the certificate that was shown.
func handshake(asking *http.Client, address string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "https://"+address+"/tls", nil) //nolint:noctx // the client has a time-out
	if err != nil {
		return "", err
	}
	request.Host = secureHost
	response, err := asking.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), secureHost) {
		return "", fmt.Errorf("%s: %s", response.Status, body)
	}
	return response.TLS.PeerCertificates[0].Subject.CommonName, nil
}

func (l *tlsLoad) note(certificate string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.seen[certificate]++
	if err != nil {
		l.lost++
		if len(l.losses) < 20 {
			l.losses = append(l.losses, err.Error())
		}
	}
}

// sees complains until so many answers came with a certificate.
func (l *tlsLoad) sees(certificate string, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[certificate] < n {
		return fmt.Errorf("%d of %d connections saw certificate %q: %v", l.seen[certificate], n, certificate, l.seen)
	}
	return nil
}

func (l *tlsLoad) end() {
	l.once.Do(func() { close(l.done) })
	l.workers.Wait()
}

func (l *tlsLoad) stop(t *testing.T, c *cluster, what string) {
	t.Helper()
	l.end()
	t.Logf("%s: %d GETs over TLS, %d lost; by certificate %v; %q", what, l.sent, l.lost, l.seen, l.losses)
	c.report.add(row{what: what, entry: "NodePort, a handshake each", gets: l.sent, getsLost: l.lost})
	if l.lost > 0 {
		t.Errorf("%s: %d lost", what, l.lost)
	}
}

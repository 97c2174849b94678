package controllers_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// certificate makes the content of a Secret: a certificate that signs itself for a host, told apart by its common name.
func certificate(t *testing.T, host, name string, ends time.Duration) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ends),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

const year = 365 * 24 * time.Hour

func trusting(host string) *tls.Config {
	return &tls.Config{ServerName: host, InsecureSkipVerify: true}
}

// shown is the common name of the certificate that a handshake for a host shows, or its error.
func shown(ctx context.Context, address, host string) string {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: kube.Patience}, Config: trusting(host)}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return "no TLS"
	}
	return secured.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func awaitShown(t *testing.T, address, host, want string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		if got := shown(t.Context(), address, host); !strings.Contains(got, want) {
			return fmt.Errorf("the handshake for %s shows %q, want %q", host, got, want)
		}
		return nil
	})
}

// A line is a TLS connection that stays open.
type line struct {
	conn   *tls.Conn
	reader *bufio.Reader
}

func openLine(t *testing.T, address, host string) *line {
	t.Helper()
	conn, err := (&tls.Dialer{Config: trusting(host)}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	secured, ok := conn.(*tls.Conn)
	if !ok {
		t.Fatalf("%T", conn)
	}
	return &line{secured, bufio.NewReader(secured)}
}

func (l *line) ask(host string) error {
	if err := l.conn.SetDeadline(time.Now().Add(kube.Patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(l.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return err
	}
	response, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := bufio.NewReader(response.Body).WriteTo(new(strings.Builder)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

const failed = "error: " // of every handshake that the proxy ends with an alert

func TestCertificates(t *testing.T) {
	t.Parallel()
	const steadyHost = "load" // that of all requests of a Load
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	if err := s.Client().Create(t.Context(), s.secret("steady", certificate(t, steadyHost, "steady", year))); err != nil {
		t.Fatal(err)
	}
	const spec = "bindAddress: '${host}:443', hosts: [%s], tls: true, tlsConfig: {certificates: [{secretRef: {name: %s}}]}, backends: [{service: {name: web, port: 80}}]"
	s.apply(t, proxyService("steady", fmt.Sprintf(spec, steadyHost, "steady")))
	s.apply(t, proxyService("shop", fmt.Sprintf(spec, "shop.example", "shop")))
	s.awaitProgrammed(t, "steady")
	// What becomes of one host's certificate is nothing to the other host, nor to whom its connections are open.
	steady := openLine(t, s.at(443), steadyHost)
	if err := steady.ask(steadyHost); err != nil {
		t.Fatal(err)
	}
	load := traffic.Start(t, traffic.Options{Addr: s.at(443), TLS: trusting(steadyHost), Workers: 2, FreshPercent: 30})

	// It is not there yet; it comes; it is replaced, and open connections stay.
	s.awaitStatus(t, "shop", "Accepted=True/Accepted", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=True/Programmed")
	s.awaitEvent(t, "shop", corev1.EventTypeWarning, "InvalidCertificateRef", "does not exist")
	awaitShown(t, s.at(443), "shop.example", failed)
	secret := s.secret("shop", certificate(t, "shop.example", "first", year))
	if err := s.Client().Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.awaitProgrammed(t, "shop")
	awaitShown(t, s.at(443), "shop.example", "first")
	open := openLine(t, s.at(443), "shop.example")
	if err := open.ask("shop.example"); err != nil {
		t.Fatal(err)
	}
	s.change(t, secret, func() { secret.Data = certificate(t, "shop.example", "second", year) })
	awaitShown(t, s.at(443), "shop.example", "second")
	if err := open.ask("shop.example"); err != nil {
		t.Errorf("a connection from before the rotation: %v", err)
	}

	// It is spoilt in one way and another: new handshakes fail rather than show what the Secret does not hold.
	good := certificate(t, "shop.example", "third", year)
	for what, data := range map[string]map[string][]byte{
		"not PEM":              {corev1.TLSCertKey: []byte("x"), corev1.TLSPrivateKeyKey: []byte("y")},
		"the key of another":   {corev1.TLSCertKey: good[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: secret.Data[corev1.TLSPrivateKeyKey]},
		"an empty key":         {corev1.TLSCertKey: good[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: nil},
		"an empty certificate": {corev1.TLSCertKey: nil, corev1.TLSPrivateKeyKey: good[corev1.TLSPrivateKeyKey]},
	} {
		t.Log(what)
		s.change(t, secret, func() { secret.Data = data })
		s.awaitStatus(t, "shop", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=True/Programmed")
		awaitShown(t, s.at(443), "shop.example", failed)
		s.change(t, secret, func() { secret.Data = good })
		s.awaitProgrammed(t, "shop")
		awaitShown(t, s.at(443), "shop.example", "third")
	}

	// It vanishes, and comes back.
	s.drop(t, secret)
	p := s.awaitStatus(t, "shop", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=True/Programmed")
	if got, want := message(p, "ResolvedRefs"), "tlsConfig.certificates[0]: Secret `"+s.ns+"/shop` does not exist"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	awaitShown(t, s.at(443), "shop.example", failed)
	if err := s.Client().Create(t.Context(), s.secret("shop", good)); err != nil {
		t.Fatal(err)
	}
	s.awaitProgrammed(t, "shop")
	awaitShown(t, s.at(443), "shop.example", "third")

	if err := steady.ask(steadyHost); err != nil {
		t.Errorf("the other host's connection: %v", err)
	}
	if tally := load.Stop(); tally.Lost != 0 || tally.Answered == 0 {
		t.Errorf("%v: %q", tally, tally.Losses)
	}
}

// One Secret may be of several objects, and one object may have several.
func TestSharedCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	for _, name := range []string{"a", "b"} {
		if err := s.Client().Create(t.Context(), s.secret(name, certificate(t, name+".example", name, year))); err != nil {
			t.Fatal(err)
		}
	}
	const rest = ", tls: true, tlsConfig: {certificates: [{secretRef: {name: a}}, {secretRef: {name: b}}]}, backends: [{service: {name: web, port: 80}}]"
	s.apply(t, proxyService("both", "bindAddress: '${host}:443', hosts: [a.example, b.example]"+rest))
	s.apply(t, proxyService("again", "bindAddress: '${host}:444'"+rest))
	s.awaitProgrammed(t, "both")
	s.awaitProgrammed(t, "again")
	for _, port := range []uint16{443, 444} {
		awaitShown(t, s.at(port), "a.example", "a")
		awaitShown(t, s.at(port), "b.example", "b")
	}
	// One of the two is gone: the other's host is served on, under both objects.
	s.drop(t, s.secret("b", nil))
	s.awaitStatus(t, "both", "ResolvedRefs=False/InvalidCertificateRef")
	s.awaitStatus(t, "again", "ResolvedRefs=False/InvalidCertificateRef")
	for _, port := range []uint16{443, 444} {
		awaitShown(t, s.at(port), "a.example", "a")
	}
	awaitShown(t, s.at(443), "b.example", failed)
}

// Whoever has a certificate that ends soon is told.
func TestCertificateExpiring(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	if err := s.Client().Create(t.Context(), s.secret("old", certificate(t, "a.example", "old", 24*time.Hour))); err != nil {
		t.Fatal(err)
	}
	s.apply(t, proxyService("shop", "bindAddress: '${host}:443', tls: true, tlsConfig: {certificates: [{secretRef: {name: old}}]}, backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	awaitShown(t, s.at(443), "a.example", "old")
	s.awaitEvent(t, "shop", corev1.EventTypeWarning, "CertificateExpiring", "the certificate of Secret `"+s.ns+"/old` ends at ")
	// One that the proxy itself shows to endpoints is no other.
	s.apply(t, proxyService("client", "bindAddress: '${host}:80', upstreamTLS: {certificate: {secretRef: {name: old}}}, backends: [{service: {name: web, port: 80}}]"))
	s.awaitEvent(t, "client", corev1.EventTypeWarning, "CertificateExpiring", "the certificate of Secret `"+s.ns+"/old` ends at ")
}

// Where the proxy may read no Secrets it asks for none, and all the rest is served.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, func(o *controllers.Options) { o.NoSecrets = true })
	s.web(t, "web", 1)
	if err := s.Client().Create(t.Context(), s.secret("good", certificate(t, "a.example", "good", year))); err != nil {
		t.Fatal(err)
	}
	s.apply(t, proxyService("plain", backends(80, "{service: {name: web, port: 80}}")))
	s.apply(t, proxyService("shop", "bindAddress: '${host}:443', tls: true, tlsConfig: {certificates: [{secretRef: {name: good}}]}, backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "plain")
	awaitAnswers(t, s.at(80), "a/", "200 web-1")
	p := s.awaitStatus(t, "shop", "ResolvedRefs=False/InvalidCertificateRef")
	if got := message(p, "ResolvedRefs"); !strings.Contains(got, "may not read Secrets") {
		t.Error(got)
	}
	awaitShown(t, s.at(443), "a.example", failed)
}

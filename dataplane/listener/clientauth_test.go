package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// chain is an authority and a certificate that it has issued.
func chain(t testing.TB, subject pkix.RDNSequence, notAfter time.Time) (authority, leaf *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	create := func(template, parent *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authority = create(ca, ca)
	raw, err := asn1.Marshal(subject)
	if err != nil {
		t.Fatal(err)
	}
	return authority, create(&x509.Certificate{
		SerialNumber: big.NewInt(2), RawSubject: raw, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority)
}

func inPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func name(parts ...string) (out pkix.RDNSequence) {
	types := map[string]asn1.ObjectIdentifier{"CN": {2, 5, 4, 3}, "O": {2, 5, 4, 10}, "C": {2, 5, 4, 6}}
	for i := 0; i < len(parts); i += 2 {
		out = append(out, pkix.RelativeDistinguishedNameSET{{Type: types[parts[i]], Value: parts[i+1]}})
	}
	return out
}

func TestSubject(t *testing.T) {
	soon := time.Now().Add(time.Minute)
	for _, tt := range []struct {
		name pkix.RDNSequence
		want string // empty: an error
	}{
		{name("C", "DE", "O", "Shop", "CN", "ann"), "CN=ann,O=Shop,C=DE"},
		{name("CN", "a,b+c\"d\\e<f>g;h"), `CN=a\,b\+c\"d\\e\<f\>g\;h`},
		{name("CN", "ann\r\nX-Forged: 1"), `CN=ann\0d\0aX-Forged: 1`},
		{name("CN", "änne\x00"), `CN=\c3\a4nne\00`},
		{name("CN", strings.Repeat("x", maxSubject-3)), "CN=" + strings.Repeat("x", maxSubject-3)},
		{name("CN", strings.Repeat("x", maxSubject-2)), ""},
		{name("CN", strings.Repeat("ä", maxSubject/3)), ""},
	} {
		_, leaf := chain(t, tt.name, soon)
		if got, err := Subject(leaf); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("the subject is %.80q, %v; want %.80q", got, err, tt.want)
		}
	}
}

// TestVerifyTakenUp: the certificate of a session that is taken up is looked at again.
func TestVerifyTakenUp(t *testing.T) {
	future, past := time.Now().Add(time.Minute), time.Now().Add(-time.Minute)
	ca, leaf := chain(t, name("CN", "ann"), future)
	oldCA, ended := chain(t, name("CN", "ann"), past)
	both := append(inPEM(ca), inPEM(oldCA)...)
	_, stranger := chain(t, name("CN", "ann"), future)
	for _, tt := range []struct {
		what     string
		required bool
		cert     *x509.Certificate
		ok       bool
	}{
		{"good", true, leaf, true},
		{"ended", true, ended, false},
		{"ended, optional", false, ended, false},
		{"of another authority", true, stranger, false},
		{"none", true, nil, false},
		{"none, optional", false, nil, true},
	} {
		a := newClientAuth(&snapshot.ClientAuth{Required: tt.required, CA: both})
		state := tls.ConnectionState{DidResume: true}
		if tt.cert != nil {
			state.PeerCertificates = []*x509.Certificate{tt.cert}
		}
		if err := a.verify(state); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func TestAuthorities(t *testing.T) {
	ca, leaf := chain(t, name("CN", "ann"), time.Now().Add(time.Minute))
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no certificate")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("skipped")})
	for _, tt := range []struct {
		bundle []byte
		n      int // 0: an error
	}{
		{inPEM(ca), 1},
		{append(append([]byte("a comment\n"), inPEM(ca)...), inPEM(leaf)...), 2},
		{append(key, inPEM(ca)...), 1},
		{append(inPEM(ca), broken...), 0},
		{key, 0},
		{nil, 0},
		{ca.Raw, 0},
	} {
		got, err := Authorities(tt.bundle)
		if len(got) != tt.n || (err == nil) != (tt.n > 0) {
			t.Errorf("%d certificates, %v; want %d", len(got), err, tt.n)
		}
	}
}

// newSession is one that a server gives a ticket for.
func newSession(t *testing.T) *tls.SessionState {
	t.Helper()
	pair, err := tls.X509KeyPair(func(c snapshot.Certificate) ([]byte, []byte) { return c.Chain, c.Key }(issue(t, "a.example")))
	if err != nil {
		t.Fatal(err)
	}
	var out *tls.SessionState
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	config.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		out = s
		return config.EncryptTicket(cs, s)
	}
	l := open(t)
	far, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	near := accepted(t, l)
	done := make(chan struct{})
	go func() {
		defer close(done)
		client := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		_, _ = io.Copy(io.Discard, tls.Client(far, client))
	}()
	defer func() {
		_ = near.Close()
		<-done
		_ = far.Close()
	}()
	if err := tls.Server(near, config).Handshake(); err != nil || out == nil {
		t.Fatal(err)
	}
	return out
}

// TestTicketKeysRotate: the keys are replaced by and by, and an old ticket is good for a while.
func TestTicketKeysRotate(t *testing.T) {
	terminator := NewTerminator(NewHandshakes(0))
	defer terminator.Close()
	begin := time.Now()
	terminator.base.Time = func() time.Time { return begin }
	state := tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	session := newSession(t)
	ticket, err := terminator.base.EncryptTicket(state, session)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		ok    bool
	}{{time.Hour, true}, {25 * time.Hour, true}, {6 * 24 * time.Hour, true}, {8 * 24 * time.Hour, false}} {
		terminator.base.Time = func() time.Time { return begin.Add(tt.after) }
		if s, err := terminator.base.DecryptTicket(ticket, state); err != nil || (s != nil) != tt.ok {
			t.Errorf("after %s: %v, %v; want %t", tt.after, s, err, tt.ok)
		}
		if _, err := terminator.base.EncryptTicket(state, session); err != nil { // makes the key of the day
			t.Fatal(err)
		}
	}
}

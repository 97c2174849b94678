package dataplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// An authority issues certificates of clients.
type authority struct {
	pem  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: cert, key: key}
}

// issue makes a certificate for a client.
func (a *authority) issue(t testing.TB, subject pkix.Name, usage x509.ExtKeyUsage, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) client(t testing.TB, name string) tls.Certificate {
	t.Helper()
	return a.issue(t, pkix.Name{CommonName: name, Organization: []string{"A, B"}}, x509.ExtKeyUsageClientAuth, time.Now().Add(time.Hour))
}

// showing shows a certificate whatever the server asks for: one of another authority too.
func showing(c tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
}

// try opens a connection and sends one request. In TLS 1.3 a client learns behind its handshake that it was refused.
func try(t testing.TB, d *DataPlane, config *tls.Config, serverName, host, extra string) (status int, body string, resumed bool, err error) {
	t.Helper()
	conn, _, err := handshake(t, d, config, serverName)
	if err != nil {
		return 0, "", false, err
	}
	status, body, err = request(conn, host, extra)
	return status, body, conn.ConnectionState().DidResume, err
}

func request(conn net.Conn, host, extra string) (int, string, error) {
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n"+extra+"\r\n"); err != nil {
		return 0, "", err
	}
	return answer(conn)
}

// certified is an origin that answers with what it was told of the client.
func certified(t testing.TB) string {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-client-cert") {
				_, _ = io.WriteString(w, name+"="+strings.Join(values, "|")+"\n")
			}
		}
	}))
	t.Cleanup(origin.Close)
	return origin.Listener.Addr().String()
}

func asking(server snapshot.Certificate, auth *snapshot.ClientAuth) snapshot.TLS {
	return snapshot.TLS{Certificates: []snapshot.Certificate{server}, ClientAuth: auth}
}

// TestClientAuth: who comes in, with which certificate, by both modes, and whatever the name's spelling.
func TestClientAuth(t *testing.T) {
	d := newPlane(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	server := issue(t, 1, "a.example", "*.wild.example")
	apply(t, d, secured(certified(t),
		site{"must", []string{"a.example", "*.wild.example"}, asking(server, &snapshot.ClientAuth{Required: true, CA: ours.pem})},
		site{"may", []string{"may.example"}, asking(server, &snapshot.ClientAuth{CA: ours.pem})},
		site{"open", []string{"open.example"}, asking(server, nil)},
		site{"bad", []string{"bad.example"}, asking(server, &snapshot.ClientAuth{Invalid: "it is not there"})},
		site{"garbage", []string{"garbage.example"}, asking(server, &snapshot.ClientAuth{CA: []byte("nothing")})},
	))
	client := ours.client(t, "ann")
	past := ours.issue(t, pkix.Name{CommonName: "ann"}, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))
	serving := ours.issue(t, pkix.Name{CommonName: "ann"}, x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	sum := sha256.Sum256(client.Certificate[0])
	known := "X-Client-Cert-Fingerprint=" + hex.EncodeToString(sum[:])
	long := ours.client(t, strings.Repeat("x", 5000)) // nobody could be told whose it is
	none := tls.Certificate{}
	for _, tt := range []struct {
		name   string
		cert   tls.Certificate
		served bool
		told   bool // the endpoint is told of the certificate
	}{
		{"a.example", client, true, true},
		{"A.Example", client, true, true},
		{"x.Y.wild.example", client, true, true},
		{"", client, true, true}, // of the oldest service
		{"a.example", none, false, false},
		{"A.EXAMPLE", none, false, false},
		{"x.wild.example", none, false, false},
		{"", none, false, false},
		{"a.example", theirs.client(t, "ann"), false, false},
		{"a.example", past, false, false},
		{"a.example", serving, false, false},
		{"a.example", long, false, false},
		{"may.example", long, false, false},
		{"may.example", none, true, false},
		{"may.example", client, true, true},
		{"may.example", theirs.client(t, "ann"), false, false},
		{"may.example", past, false, false},
		{"open.example", client, true, false},
		{"bad.example", client, false, false},
		{"bad.example", none, false, false},
		{"garbage.example", client, false, false},
		{"garbage.example", none, false, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := &tls.Config{MaxVersion: version, GetClientCertificate: showing(tt.cert)}
			host := strings.ToLower(tt.name)
			if host == "" {
				host = "a.example"
			}
			status, body, _, err := try(t, d, config, tt.name, host, "")
			if tt.served != (err == nil && status == 200) {
				t.Errorf("%s, %s: %d %v, want served %t", tls.VersionName(version), tt.name, status, err, tt.served)
			}
			if tt.told != strings.Contains(body, known) || strings.Contains(body, `X-Client-Cert-Subject=CN=ann,O=A\, B`) != tt.told {
				t.Errorf("%s, %s: the endpoint is told %q", tls.VersionName(version), tt.name, body)
			}
		}
	}
}

// TestClientAuthOfAnotherHost: a connection that was opened without the certificate does not reach who asks for it.
func TestClientAuthOfAnotherHost(t *testing.T) {
	d := newPlane(t)
	ours := newAuthority(t)
	server := issue(t, 1, "*.example")
	must := &snapshot.ClientAuth{Required: true, CA: ours.pem}
	s := secured(certified(t),
		site{"open", []string{"open.example"}, asking(server, nil)},
		site{"must", []string{"must.example"}, asking(server, must)},
		site{"same", []string{"same.example"}, asking(server, &snapshot.ClientAuth{Required: true, CA: ours.pem})},
		site{"may", []string{"may.example"}, asking(server, &snapshot.ClientAuth{CA: ours.pem})},
		site{"sharer", []string{"open.example"}, asking(server, must)},
	)
	l := s.Listeners[0]
	l.Routes[4].Matches = []snapshot.Match{{Path: "/secret"}} // of a host that belongs to an open service
	apply(t, d, s)
	config := &tls.Config{GetClientCertificate: showing(ours.client(t, "ann"))}
	for _, tt := range []struct {
		opened, asked string
		status        int
	}{
		{"open.example", "open.example", 200},
		{"open.example", "must.example", 421},
		{"open.example", "may.example", 421},
		{"must.example", "same.example", 200},
		{"must.example", "may.example", 421},
		{"may.example", "must.example", 421},
		{"must.example", "open.example", 421},
	} {
		status, _, _, err := try(t, d, config, tt.opened, tt.asked, "")
		if err != nil || status != tt.status {
			t.Errorf("opened for %s, asked for %s: %d %v, want %d", tt.opened, tt.asked, status, err, tt.status)
		}
	}
	conn, _, err := handshake(t, d, config, "open.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /secret HTTP/1.1\r\nHost: open.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if status, _, err := answer(conn); status != 421 || err != nil {
		t.Errorf("the route of a service that asks for certificates, on a connection that did not: %d %v", status, err)
	}
}

// TestClientAuthAfterReload: neither a session nor an open connection crosses a change of what clients are asked for.
func TestClientAuthAfterReload(t *testing.T) {
	d := newPlane(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	origin := certified(t)
	server := issue(t, 1, "a.example")
	configured := func(auth *snapshot.ClientAuth) *snapshot.Snapshot {
		return secured(origin, site{"a", []string{"a.example"}, asking(server, auth)})
	}
	required := func(a *authority) *snapshot.ClientAuth { return &snapshot.ClientAuth{Required: true, CA: a.pem} }
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, changed := range []struct {
			name string
			from *snapshot.ClientAuth
			to   *snapshot.ClientAuth
			ok   bool // the client's certificate does for the new one
		}{
			{"another authority", required(ours), required(theirs), false},
			{"from nothing", nil, required(ours), true},
			{"from optional", &snapshot.ClientAuth{CA: ours.pem}, required(ours), true},
			{"to a bad one", required(ours), &snapshot.ClientAuth{Required: true, Invalid: "gone"}, false},
		} {
			t.Run(tls.VersionName(version)+", "+changed.name, func(t *testing.T) {
				apply(t, d, configured(changed.from))
				config := &tls.Config{
					MaxVersion: version, ClientSessionCache: &oneSession{}, GetClientCertificate: showing(ours.client(t, "ann")),
				}
				open, _, err := handshake(t, d, config, "a.example")
				if err != nil {
					t.Fatal(err)
				}
				if status, _, err := request(open, "a.example", ""); status != 200 || err != nil {
					t.Fatal(status, err)
				}
				status, body, resumed, err := try(t, d, config, "a.example", "a.example", "")
				if status != 200 || !resumed || err != nil || strings.Contains(body, "CN=ann") != (changed.from != nil) {
					t.Fatalf("taken up %t: %d %q %v", resumed, status, body, err)
				}
				apply(t, d, configured(changed.to))
				if status, _, err := request(open, "a.example", ""); status != 421 || err != nil {
					t.Errorf("an open connection gets %d %v, want 421", status, err)
				}
				status, _, resumed, err = try(t, d, config, "a.example", "a.example", "")
				if resumed || (err == nil && status == 200) != changed.ok {
					t.Errorf("taken up %t: %d %v", resumed, status, err)
				}
			})
		}
	}
}

// TestForgedCertificateFields reach no endpoint, whoever sends them.
func TestForgedCertificateFields(t *testing.T) {
	d := newPlane(t)
	ours := newAuthority(t)
	server := issue(t, 1, "a.example")
	s := secured(certified(t), site{"a", []string{"a.example"}, asking(server, &snapshot.ClientAuth{CA: ours.pem})})
	s.Listeners[0].Services[0].TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s.Listeners[0].Services[0].Underscores = true
	apply(t, d, s)
	const forged = "X-Client-Cert-Subject: CN=forged\r\nx-CLIENT-cert-fingerprint: forged\r\nX_Client_Cert_Subject: CN=forged\r\n" +
		"X-Client_Cert-Fingerprint: forged\r\n"
	config := &tls.Config{GetClientCertificate: showing(ours.client(t, "ann"))}
	for _, fields := range []string{forged, forged + "Connection: X-Client-Cert-Subject, X-Client-Cert-Fingerprint\r\n"} {
		_, body, _, err := try(t, d, nil, "a.example", "a.example", fields)
		if err != nil || body != "" {
			t.Errorf("without a certificate the endpoint is told %q, %v", body, err)
		}
		_, body, _, err = try(t, d, config, "a.example", "a.example", fields)
		if err != nil || strings.Contains(body, "forged") || !strings.Contains(body, "CN=ann") || !strings.Contains(body, "Fingerprint=") {
			t.Errorf("the endpoint is told %q, %v", body, err)
		}
	}
}

// fragmented sends the first record, which is the ClientHello, in records of few bytes.
type fragmented struct {
	net.Conn
	sent bool
}

func (f *fragmented) Write(p []byte) (int, error) {
	if f.sent {
		return f.Conn.Write(p)
	}
	f.sent = true
	for rest := p[5:]; len(rest) > 0; {
		n := min(len(rest), 7)
		if _, err := f.Conn.Write(append([]byte{p[0], p[1], p[2], 0, byte(n)}, rest[:n]...)); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// TestClientAuthOfFragmentedHello: what a hello asks for is seen however it is cut.
func TestClientAuthOfFragmentedHello(t *testing.T) {
	d := newPlane(t)
	ours := newAuthority(t)
	apply(t, d, secured(certified(t),
		site{"open", []string{"open.example"}, asking(issue(t, 1, "open.example"), nil)},
		site{"must", []string{"must.example"}, asking(issue(t, 2, "must.example"), &snapshot.ClientAuth{Required: true, CA: ours.pem})},
	))
	for _, cert := range []tls.Certificate{{}, ours.client(t, "ann")} {
		nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		conn := tls.Client(&fragmented{Conn: nc}, &tls.Config{
			ServerName: "must.example", InsecureSkipVerify: true, GetClientCertificate: showing(cert),
		})
		status, _, err := request(conn, "must.example", "")
		if want := len(cert.Certificate) > 0; want != (status == 200 && err == nil) {
			t.Errorf("certificate %t: %d %v", want, status, err)
		}
	}
}

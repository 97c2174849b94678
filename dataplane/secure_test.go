package dataplane

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
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// issue makes a self-signed certificate for names. Its serial number tells it from others.
func issue(t testing.TB, serial int64, names ...string) snapshot.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Certificate{
		Name:  strings.Join(names, "+"),
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// A site is a service with its certificates.
type site struct {
	name  string
	hosts []string
	tls   snapshot.TLS
}

// secured is a configuration of one TLS listener with a service for each site.
func secured(endpoint string, sites ...site) *snapshot.Snapshot {
	s := configuration("127.0.0.1:0", endpoint)
	l := s.Listeners[0]
	route := *l.Routes[0]
	l.TLS, l.Services, l.Routes = true, nil, nil
	for _, one := range sites {
		if one.tls.MinVersion == 0 {
			one.tls.MinVersion = tls.VersionTLS12
		}
		service := &snapshot.Service{Name: one.name, Hosts: one.hosts, IdleTimeout: time.Minute, TLS: &one.tls}
		r := route
		r.Service = service
		l.Services, l.Routes = append(l.Services, service), append(l.Routes, &r)
	}
	return s
}

func single(c ...snapshot.Certificate) snapshot.TLS { return snapshot.TLS{Certificates: c} }

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// handshake opens a connection for a name, and tells the serial number of the certificate.
func handshake(t testing.TB, d *DataPlane, config *tls.Config, serverName string) (*tls.Conn, int64, error) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", d.Bound("127.0.0.1:0"), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = nc.Close() })
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.ServerName, config.InsecureSkipVerify = serverName, true
	conn := tls.Client(nc, config)
	if err := conn.Handshake(); err != nil {
		return nil, 0, err
	}
	if peers := conn.ConnectionState().PeerCertificates; len(peers) > 0 {
		return conn, peers[0].SerialNumber.Int64(), nil
	}
	return conn, 0, nil
}

// ask sends one request on a connection.
func ask(t testing.TB, conn net.Conn, host string) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	status, body, err := answer(conn)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

// answer reads one response.
func answer(conn net.Conn) (status int, body string, err error) {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// TestCertificatesByName: the most specific host's service shows its certificate, and nobody shows another's.
func TestCertificatesByName(t *testing.T) {
	d := newPlane(t)
	apply(t, d, secured(rawOrigin(t, okAnswer),
		site{"oldest", []string{"old.example"}, single(issue(t, 1, "old.example"))},
		site{"exact", []string{"a.shop.example"}, single(issue(t, 2, "a.shop.example"))},
		site{"wild", []string{"*.shop.example"}, single(issue(t, 3, "*.shop.example"))},
		site{"wilder", []string{"*.example"}, single(issue(t, 4, "x.example"), issue(t, 5, "y.example"))},
		site{"broken", []string{"broken.shop.example"}, single(snapshot.Certificate{Name: "none"})},
		site{"half", []string{"good.half.example", "bad.half.example"}, single(snapshot.Certificate{Name: "none"}, issue(t, 6, "good.half.example"))},
		site{"empty", []string{"empty.example"}, single()},
	))
	for _, tt := range []struct {
		name   string
		serial int64 // 0: the handshake fails
		alert  string
	}{
		{"old.example", 1, ""},
		{"a.shop.example", 2, ""},
		{"A.Shop.EXAMPLE", 2, ""},
		{"b.shop.example", 3, ""},
		{"b.c.shop.example", 3, ""},
		{"x.example", 4, ""},
		{"y.example", 5, ""},
		{"z.example", 4, ""}, // none has the name: the first
		{"", 1, ""},
		{"broken.shop.example", 0, "internal error"},
		{"good.half.example", 6, ""},
		{"bad.half.example", 0, "internal error"},
		{"empty.example", 0, "internal error"},
		{"elsewhere.invalid", 0, "unrecognized name"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conn, serial, err := handshake(t, d, &tls.Config{MaxVersion: version}, tt.name)
			if serial != tt.serial || tt.alert != "" && (err == nil || !strings.Contains(err.Error(), tt.alert)) {
				t.Errorf("%s: certificate %d, %v; want %d, %s", tt.name, serial, err, tt.serial, tt.alert)
			}
			if err != nil || tt.name == "" {
				continue
			}
			if status, body := ask(t, conn, strings.ToLower(tt.name)); status != 200 || body != "ok" {
				t.Errorf("%s: %d %q", tt.name, status, body)
			}
		}
	}
}

// TestRotation: new handshakes show the new certificate, open connections stay.
func TestRotation(t *testing.T) {
	d := newPlane(t)
	origin := rawOrigin(t, okAnswer)
	other := site{"other", []string{"other.example"}, single(issue(t, 9, "other.example"))}
	configured := func(serial int64) *snapshot.Snapshot {
		return secured(origin, site{"a", []string{"a.example"}, single(issue(t, serial, "a.example"))}, other)
	}
	apply(t, d, configured(1))
	old, serial, err := handshake(t, d, nil, "a.example")
	if err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
	apply(t, d, configured(2))
	if _, serial, err := handshake(t, d, nil, "a.example"); err != nil || serial != 2 {
		t.Errorf("after the rotation the certificate is %d, %v", serial, err)
	}
	if status, _ := ask(t, old, "a.example"); status != 200 {
		t.Errorf("the open connection answers %d", status)
	}
	families, err := d.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		if f.GetName() == "pingora_proxy_tls_certificate_not_after_seconds" {
			for _, m := range f.GetMetric() {
				series++
				if m.GetGauge().GetValue() < float64(time.Now().Unix()) || m.GetLabel()[0].GetValue() != m.GetLabel()[2].GetValue()+".example" {
					t.Errorf("the end of a certificate is %v", m)
				}
			}
		}
	}
	if series != 2 {
		t.Errorf("the ends of %d certificates are told, want 2", series)
	}
}

// TestResumption: a session is taken up again after a reload that leaves its service's policy alone, and by nobody else.
func TestResumption(t *testing.T) {
	d := newPlane(t)
	origin := rawOrigin(t, okAnswer)
	a, b := issue(t, 1, "a.example"), issue(t, 2, "b.example")
	configured := func(aTLS snapshot.TLS) *snapshot.Snapshot {
		return secured(origin, site{"a", []string{"a.example", "alias.example"}, aTLS}, site{"b", []string{"b.example"}, single(b)})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		apply(t, d, configured(single(a)))
		cache := &oneSession{}
		config := &tls.Config{MaxVersion: version, ClientSessionCache: cache}
		resumed := func(serverName string) bool {
			t.Helper()
			conn, _, err := handshake(t, d, config, serverName)
			if err != nil {
				t.Fatal(err)
			}
			ask(t, conn, serverName) // reads the ticket of TLS 1.3, too
			return conn.ConnectionState().DidResume
		}
		if resumed("a.example") || !resumed("a.example") {
			t.Fatalf("%s: sessions are not taken up", tls.VersionName(version))
		}
		apply(t, d, configured(single(a)))
		if !resumed("a.example") {
			t.Errorf("%s: a reload ended the session", tls.VersionName(version))
		}
		if resumed("b.example") {
			t.Errorf("%s: another service took the session up", tls.VersionName(version))
		}
		resumed("a.example")
		if resumed("alias.example") {
			t.Errorf("%s: another name took the session up", tls.VersionName(version))
		}
		resumed("a.example")
		apply(t, d, configured(single(issue(t, 3, "a.example"))))
		if resumed("a.example") {
			t.Errorf("%s: the session outlived its certificate", tls.VersionName(version))
		}
		apply(t, d, configured(single(snapshot.Certificate{Name: "gone"})))
		if _, _, err := handshake(t, d, config, "a.example"); err == nil {
			t.Errorf("%s: a session was taken up for a service without a certificate", tls.VersionName(version))
		}
		if _, _, err := handshake(t, d, config, "elsewhere.invalid"); err == nil {
			t.Errorf("%s: a session was taken up for nobody", tls.VersionName(version))
		}
	}
}

// oneSession offers the last session to every server.
type oneSession struct{ last *tls.ClientSessionState }

func (s *oneSession) Get(string) (*tls.ClientSessionState, bool) { return s.last, s.last != nil }
func (s *oneSession) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		s.last = state
	}
}

// TestMisdirected: a connection carries requests for other hosts only where they are secured alike.
func TestMisdirected(t *testing.T) {
	d := newPlane(t)
	shared := issue(t, 1, "*.example")
	strict := single(shared)
	strict.MinVersion = tls.VersionTLS13
	apply(t, d, secured(rawOrigin(t, okAnswer),
		site{"a", []string{"a.example"}, single(shared)},
		site{"b", []string{"b.example"}, single(shared)},
		site{"strict", []string{"strict.example"}, strict},
		site{"other", []string{"other.test", "*.other.test"}, single(issue(t, 2, "other.test"))},
	))
	for _, tt := range []struct {
		name, host string
		status     int
	}{
		{"a.example", "a.example", 200},
		{"a.example", "A.example:443", 200},
		{"a.example", "b.example", 200},
		{"a.example", "other.test", 421},
		{"a.example", "strict.example", 421},
		{"a.example", "nobody.invalid", 404},
		{"", "a.example", 200},
		{"", "other.test", 421},
		{"other.test", "www.other.test", 200},
		{"other.test", "a.example", 421},
	} {
		conn, _, err := handshake(t, d, nil, tt.name)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		status, body := ask(t, conn, tt.host)
		if status != tt.status || status == 421 && !strings.Contains(body, `"reason":"misdirected_request"`) {
			t.Errorf("opened for %q, asked for %q: %d %s", tt.name, tt.host, status, body)
		}
	}
}

func TestMinVersionAndProtocols(t *testing.T) {
	d := newPlane(t)
	strict := single(issue(t, 1, "a.example"))
	strict.MinVersion = tls.VersionTLS13
	apply(t, d, secured(rawOrigin(t, okAnswer), site{"a", []string{"a.example"}, strict}, site{"b", nil, single(issue(t, 2, "b.example"))}))
	for _, tt := range []struct {
		name    string
		version uint16
		ok      bool
	}{
		{"a.example", tls.VersionTLS12, false},
		{"a.example", tls.VersionTLS13, true},
		{"b.example", tls.VersionTLS11, false},
		{"b.example", tls.VersionTLS12, true},
	} {
		config := &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tt.version}
		if _, _, err := handshake(t, d, config, tt.name); (err == nil) != tt.ok {
			t.Errorf("%s with %s: %v", tt.name, tls.VersionName(tt.version), err)
		}
	}
	for _, tt := range []struct {
		offered []string
		want    string // "-": refused
	}{
		{[]string{"h2", "http/1.1"}, "h2"},
		{[]string{"http/1.1"}, "http/1.1"},
		{nil, ""},
		{[]string{"h3", "other"}, "-"},
	} {
		conn, _, err := handshake(t, d, &tls.Config{NextProtos: tt.offered}, "a.example")
		switch {
		case (err != nil) != (tt.want == "-"):
			t.Errorf("offered %q: %v", tt.offered, err)
		case err == nil && conn.ConnectionState().NegotiatedProtocol != tt.want:
			t.Errorf("offered %q: the protocol is %q", tt.offered, conn.ConnectionState().NegotiatedProtocol)
		}
	}
}

// TestPlainHTTPOnTLSPort is answered in words, not with a broken connection.
func TestPlainHTTPOnTLSPort(t *testing.T) {
	d := newPlane(t)
	apply(t, d, secured(rawOrigin(t, okAnswer), site{"a", nil, single(issue(t, 1, "a.example"))}))
	nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	status, body := ask(t, nc, "a.example")
	if status != 400 || !strings.Contains(body, "use https") {
		t.Errorf("%d %q", status, body)
	}
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the connection does not end: %d, %v", n, err)
	}
}

// TestModeChange: a port that begins to speak TLS takes no plain request any more, and the other way round.
func TestModeChange(t *testing.T) {
	d := newPlane(t)
	origin := rawOrigin(t, okAnswer)
	with := secured(origin, site{"a", nil, single(issue(t, 1, "a.example"))})
	without := configuration("127.0.0.1:0", origin)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_ = free.Close()
	with.Listeners[0].Address, without.Listeners[0].Address = at, at // port 0 would be another one each time
	for range 3 {
		apply(t, d, with)
		nc, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		if status, _ := ask(t, conn, "a.example"); status != 200 {
			t.Errorf("over TLS: %d", status)
		}
		_ = nc.Close()
		apply(t, d, without)
		if status, _ := fetch(t, at); status != 200 {
			t.Errorf("without TLS: %d", status)
		}
	}
}

// TestDrainEndsHandshakes: a client that never ends its handshake holds nobody up, and one that does is served.
func TestDrainEndsHandshakes(t *testing.T) {
	d := newPlane(t)
	s := secured(rawOrigin(t, okAnswer), site{"a", nil, single(issue(t, 1, "a.example"))})
	s.Limits.DrainTimeout, s.Limits.HeaderTimeout = time.Second, time.Hour
	apply(t, d, s)
	busy, _, err := handshake(t, d, nil, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(t, busy, "a.example"); status != 200 {
		t.Fatal(status)
	}
	var silent []net.Conn
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00\x01"} { // nothing, and a hello that goes no further
		nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, begin); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, nc)
	}
	for at := time.Now(); d.metrics.OpenConnections.Value() != 3; {
		if time.Since(at) > 20*time.Second {
			t.Fatalf("%d connections are open", d.metrics.OpenConnections.Value())
		}
		time.Sleep(time.Millisecond)
	}
	done := make(chan error, 1)
	go func() { done <- d.Drain(context.Background()) }()
	select {
	case err := <-done:
		t.Logf("drained: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the handshakes hold the end up")
	}
	for _, nc := range append(silent, busy) {
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, nc); isTimeout(err) {
			t.Error("a connection is still open")
		}
	}
}

// TestHandshakeTimeout: a handshake may take as long as a request's head.
func TestHandshakeTimeout(t *testing.T) {
	d := newPlane(t)
	s := secured(rawOrigin(t, okAnswer), site{"a", nil, single(issue(t, 1, "a.example"))})
	s.Limits.HeaderTimeout = 50 * time.Millisecond
	apply(t, d, s)
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(nc, begin); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("after %d bytes: %v", len(begin), err)
		}
	}
}

// TestHandshakesThatStopHoldUpNobody: at whatever point a client does not go on, others have their turn.
func TestHandshakesThatStopHoldUpNobody(t *testing.T) {
	d := newPlane(t)
	d.handshakes = listener.NewHandshakes(1)
	s := secured(rawOrigin(t, okAnswer), site{"a", nil, single(issue(t, 1, "a.example"))})
	s.Limits.HeaderTimeout = time.Hour
	apply(t, d, s)
	var hello recorder
	_ = tls.Client(&hello, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}).Handshake()
	for _, n := range []int{1, len(hello.sent) - 1, len(hello.sent)} {
		nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := nc.Write(hello.sent[:n]); err != nil {
			t.Fatal(err)
		}
		if n == len(hello.sent) {
			if _, err := nc.Read(make([]byte, 1)); err != nil { // it is waited for
				t.Fatal(err)
			}
		}
		for range 10 {
			conn, _, err := handshake(t, d, nil, "a.example")
			if err != nil {
				t.Fatalf("beside one that stops after %d of %d bytes: %v", n, len(hello.sent), err)
			}
			_ = conn.Close()
		}
	}
}

// A recorder keeps what is sent, and answers with the end.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return len(p), nil
}
func (r *recorder) Read([]byte) (int, error) { return 0, io.EOF }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

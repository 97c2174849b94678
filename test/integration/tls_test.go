package integration_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// An authority issues certificates that its pool trusts.
type authority struct {
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	pool   *x509.CertPool
	folder string
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool(), folder: t.TempDir(), serial: 1}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue writes NAME.crt and NAME.key, whole, for hosts, and returns the serial number.
func (a *authority) issue(t *testing.T, name string, hosts ...string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, name, key.Public(), key, hosts...)
}

func (a *authority) issueRSA(t *testing.T, name string, hosts ...string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, name, key.Public(), key, hosts...)
}

func (a *authority) sign(t *testing.T, name string, public, private any, hosts ...string) string {
	t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * time.Minute),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	// The folder that the files are in is replaced, so that there is no moment with one's certificate and another's key.
	next := filepath.Join(a.folder, fmt.Sprintf("%s.%d", name, a.serial))
	if err := os.Mkdir(next, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(next, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, filepath.Join(next, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	a.link(t, name, next)
	return big.NewInt(a.serial).String()
}

func (a *authority) link(t *testing.T, name, folder string) {
	t.Helper()
	link := filepath.Join(a.folder, name)
	if err := os.Symlink(folder, link+".next"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".next", link); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// source is an entry of `certificates`.
func (a *authority) source(name string) string {
	return fmt.Sprintf("{cert_file: '%s', key_file: '%s'}", filepath.Join(a.folder, name, "tls.crt"), filepath.Join(a.folder, name, "tls.key"))
}

// secured is an entry of `services` that terminates TLS at 127.0.0.1:0.
func secured(name, upstream, hosts, config string) string {
	s := fmt.Sprintf("  - {name: %s, bind_address: '127.0.0.1:0', upstreams: ['%s'], tls: true", name, upstream)
	if hosts != "" {
		s += ", hosts: [" + hosts + "]"
	}
	if config != "" {
		s += ", tls_config: {" + config + "}"
	}
	return s + "}\n"
}

// dialTLS opens a connection for a name.
func dialTLS(t *testing.T, address, serverName string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(harness.Patience))
	t.Cleanup(func() { _ = nc.Close() })
	config = config.Clone()
	config.ServerName = serverName
	conn := tls.Client(nc, config)
	return conn, conn.Handshake()
}

// shown is the serial number of the certificate that is shown for a name, or empty.
func shown(t *testing.T, address, serverName string, config *tls.Config) string {
	t.Helper()
	conn, err := dialTLS(t, address, serverName, config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// over sends a request over a connection.
func over(t *testing.T, conn net.Conn, request string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(text)
}

// TestTLSByName: the certificate and the service of a name, what the endpoint and the log are told of it, and that a
// connection is not for every name.
func TestTLSByName(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	exact, wild := a.issue(t, "exact", "shop.example"), a.issue(t, "wild", "*.shop.example")
	elliptic, old := a.issue(t, "ecdsa", "both.example"), a.issueRSA(t, "rsa", "both.example")
	p := harness.Start(t, "services:\n"+
		secured("shop", origin.Addr, "shop.example", "certificates: ["+a.source("exact")+"]")+
		secured("wild", origin.Addr, "'*.shop.example'", "certificates: ["+a.source("wild")+"]")+
		secured("both", origin.Addr, "both.example", "certificates: ["+a.source("ecdsa")+", "+a.source("rsa")+"]"), harness.Options{})
	address := p.Addr(t, "shop")
	trusting := &tls.Config{RootCAs: a.pool}
	onlyRSA := &tls.Config{RootCAs: a.pool, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	for _, tt := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"shop.example", trusting, exact},
		{"SHOP.example", trusting, exact},
		{"a.shop.example", trusting, wild},
		{"both.example", trusting, elliptic},
		{"both.example", onlyRSA, old},
		{"elsewhere.example", trusting, ""},
	} {
		if got := shown(t, address, tt.name, tt.config); got != tt.want {
			t.Errorf("%s: certificate %q, want %q", tt.name, got, tt.want)
		}
	}

	conn, err := dialTLS(t, address, "shop.example", trusting)
	if err != nil {
		t.Fatal(err)
	}
	r, text := over(t, conn, "GET /secured HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: http\r\n\r\n")
	e := harness.ParseEchoed(t, text)
	if r.StatusCode != http.StatusOK || e.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("%d, the endpoint was told %v", r.StatusCode, e.Header)
	}
	line := p.AccessOf(t, "/secured")
	if line.Text("tls_version") != "1.3" || line.Text("sni") != "shop.example" || line.Text("service") != "shop" {
		t.Errorf("the log has %v", line)
	}
	if r, text := over(t, conn, "GET /other HTTP/1.1\r\nHost: both.example\r\n\r\n"); r.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(text, "misdirected_request") {
		t.Errorf("a request for a host with another certificate: %d %s", r.StatusCode, text)
	}
	if r, _ := over(t, conn, "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"); r.StatusCode != http.StatusOK {
		t.Errorf("the connection behind it: %d", r.StatusCode)
	}
	if ends := p.Metric(t, "tls_certificate_not_after_seconds", "service", "shop"); time.Until(time.Unix(int64(ends), 0)) > 31*time.Minute ||
		time.Until(time.Unix(int64(ends), 0)) < 10*time.Minute {
		t.Errorf("the certificate ends at %v", ends)
	}

	plain := harness.Dial(t, address)
	if r := plain.Do(t, "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.Text, "use https") {
		t.Errorf("plain HTTP on the TLS port: %d %q", r.StatusCode, r.Text)
	}
	plain.Closed(t)
	p.AwaitMetric(t, 2, "rejected_connections_total", "reason", "tls_handshake") // and the name that is nobody's
}

// TestTLSBodies: bodies of all kinds both ways, many on one connection, and a tunnel.
func TestTLSBodies(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "web", "web.example")
	origin := harness.StartOrigin(t, harness.Echo("o"))
	sockets := talker(t)
	p := harness.Start(t, "services:\n"+secured("web", origin.Addr, "web.example", "certificates: ["+a.source("web")+"]")+
		secured("sockets", sockets.Addr, "sockets.example", "certificates: ["+a.source("web")+"]"), harness.Options{})
	address := p.Addr(t, "web")
	conn, err := dialTLS(t, address, "web.example", &tls.Config{RootCAs: a.pool})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}, Timeout: harness.Patience}
	for _, size := range []int{0, 1, 16 << 10, 16<<10 + 1, 100 << 10, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			body := harness.Pattern(size)
			var reader io.Reader = strings.NewReader(body)
			if chunked {
				reader = io.MultiReader(reader) // of unknown length
			}
			r, err := client.Post(fmt.Sprintf("https://web.example/?bytes=%d", size), "text/plain", reader)
			if err != nil {
				t.Fatalf("%d bytes, chunked %t: %v", size, chunked, err)
			}
			got, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if err != nil || r.StatusCode != http.StatusOK || string(got) != body {
				t.Fatalf("%d bytes, chunked %t: %d with %d bytes, %v", size, chunked, r.StatusCode, len(got), err)
			}
			r, err = client.Post("https://web.example/", "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			got, err = io.ReadAll(r.Body)
			_ = r.Body.Close()
			if e := harness.ParseEchoed(t, string(got)); err != nil || e.Bytes != int64(size) {
				t.Fatalf("of %d bytes %d arrived", size, e.Bytes)
			}
		}
	}

	tunnel, err := dialTLS(t, address, "sockets.example", &tls.Config{RootCAs: a.pool, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tunnel, "GET /socket HTTP/1.1\r\nHost: sockets.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(tunnel)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", r, err)
	}
	for _, words := range []string{"hello\n", strings.Repeat("x", 100<<10) + "\n"} {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(tunnel, words)
		}()
		if got, err := in.ReadString('\n'); got != words {
			t.Fatalf("the tunnel said %d bytes, %v", len(got), err)
		}
		<-sent
	}
}

// TestTLSRotationUnderLoad: certificates change while requests run on connections old and new: none is lost, new
// connections get the new certificate, and one that is bad leaves everything as it was.
func TestTLSRotationUnderLoad(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	serial := a.issue(t, "web", "web.example")
	ledger := harness.NewLedger(t)
	origin := harness.StartOrigin(t, ledger.Echo("o"))
	p := harness.Start(t, "services:\n"+secured("web", origin.Addr, "", "certificates: ["+a.source("web")+"]"), harness.Options{})
	address := p.Addr(t, "web")
	trusting := &tls.Config{RootCAs: a.pool, ServerName: "web.example"}
	if got := shown(t, address, "web.example", trusting); got != serial {
		t.Fatalf("certificate %s, want %s", got, serial)
	}
	var mu sync.Mutex
	var serials []string
	counting := trusting.Clone()
	counting.VerifyConnection = func(state tls.ConnectionState) error {
		mu.Lock()
		defer mu.Unlock()
		if s := state.PeerCertificates[0].SerialNumber.String(); !slices.Contains(serials, s) {
			serials = append(serials, s)
		}
		return nil
	}
	// At a rate, because handshakes as fast as they can be made leave no processor to who takes the new files over.
	load := traffic.Start(t, traffic.Options{Addr: address, TLS: counting, FreshPercent: 30, Workers: 4, Rate: 300})
	const rotations = 5
	for range rotations {
		load.Await(t, 200)
		serial = a.issue(t, "web", "web.example")
		harness.Eventually(t, "the new certificate is shown", func() bool { return shown(t, address, "web.example", trusting) == serial })
		refused := p.Metric(t, "config_reloads_total", "result", "error")
		broken := filepath.Join(a.folder, "broken."+serial)
		if err := os.Mkdir(broken, 0o700); err != nil {
			t.Fatal(err)
		}
		a.link(t, "web", broken) // an empty folder
		harness.Eventually(t, "the files that are gone are noticed", func() bool {
			return p.Metric(t, "config_reloads_total", "result", "error") > refused
		})
		if got := shown(t, address, "web.example", trusting); got != serial {
			t.Errorf("without its files the certificate is %s, want %s", got, serial)
		}
	}
	tally := load.Stop()
	t.Log(tally)
	if tally.Lost > 0 || tally.Sent == 0 {
		t.Errorf("lost %d: %v", tally.Lost, tally.Losses)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(serials) < rotations {
		t.Errorf("the clients saw %d certificates, want at least %d", len(serials), rotations)
	}
}

// TestTLSVersions: each service has its own oldest version, and a reload changes it for connections to come.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "web", "*.example")
	origin := harness.StartOrigin(t, harness.Echo("o"))
	configure := func(oldest string) string {
		return "services:\n" + secured("strict", origin.Addr, "strict.example", "min_version: '"+oldest+"', certificates: ["+a.source("web")+"]") +
			secured("usual", origin.Addr, "usual.example", "certificates: ["+a.source("web")+"]")
	}
	p := harness.Start(t, configure("1.3"), harness.Options{})
	address := p.Addr(t, "strict")
	can := func(name string, version uint16) bool {
		return shown(t, address, name, &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS10, MaxVersion: version}) != ""
	}
	for _, tt := range []struct {
		name    string
		version uint16
		want    bool
	}{
		{"strict.example", tls.VersionTLS12, false},
		{"strict.example", tls.VersionTLS13, true},
		{"usual.example", tls.VersionTLS11, false},
		{"usual.example", tls.VersionTLS12, true},
	} {
		if got := can(tt.name, tt.version); got != tt.want {
			t.Errorf("%s with %s: %t", tt.name, tls.VersionName(tt.version), got)
		}
	}
	open, err := dialTLS(t, address, "usual.example", &tls.Config{RootCAs: a.pool})
	if err != nil {
		t.Fatal(err)
	}
	p.Reload(t, configure("1.2"))
	if !can("strict.example", tls.VersionTLS12) {
		t.Error("the reload changed nothing")
	}
	if r, _ := over(t, open, "GET / HTTP/1.1\r\nHost: usual.example\r\n\r\n"); r.StatusCode != http.StatusOK {
		t.Errorf("the open connection: %d", r.StatusCode)
	}
}

// TestTLSWithoutCertificate: a self-signed one serves, is the same after a restart, and everybody is told.
func TestTLSWithoutCertificate(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	careless := &tls.Config{InsecureSkipVerify: true}
	var serials []string
	for range 2 {
		p := harness.Start(t, "services:\n"+secured("web", origin.Addr, "web.example", ""), harness.Options{Env: []string{"STATE_DIRECTORY=" + state}})
		conn, err := dialTLS(t, p.Addr(t, "web"), "web.example", careless)
		if err != nil {
			t.Fatal(err)
		}
		cert := conn.ConnectionState().PeerCertificates[0]
		if err := cert.VerifyHostname("web.example"); err != nil {
			t.Error(err)
		}
		if r, _ := over(t, conn, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"); r.StatusCode != http.StatusOK {
			t.Errorf("%d", r.StatusCode)
		}
		_ = conn.Close()
		serials = append(serials, cert.SerialNumber.String())
		if !strings.Contains(p.LogText(), "self-signed") {
			t.Error("nobody is told")
		}
		if code := p.Stop(t); code != 0 {
			t.Errorf("it ended with %d", code)
		}
	}
	if serials[0] != serials[1] {
		t.Errorf("the certificates are %v", serials)
	}
	if info, err := os.Stat(filepath.Join(state, "self-signed", "web.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// TestTLSProblemsAreFound before anything serves.
func TestTLSProblemsAreFound(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "web", "web.example")
	path := configFile(t, "services:\n"+
		secured("gone", "127.0.0.1:1", "a.example", "certificates: ["+a.source("nowhere")+"]")+
		secured("mixed", "127.0.0.1:1", "b.example", "certificates: [{cert_file: "+path("web", a, "crt")+", key_file: "+path("web", a, "crt")+"}]")+
		"  - {name: plain, bind_address: '127.0.0.1:0', hosts: [c.example], upstreams: ['127.0.0.1:1']}\n")
	r := harness.Run(t, nil, "--validate", "--config", path)
	for _, want := range []string{
		":2:", "services[0].tls_config.certificates[0]: ", "there is no such file",
		":3:", "services[1].tls_config.certificates[0]: ", "tls: ",
		":4:", "services[2].bind_address: `127.0.0.1:0` is an address of service `gone`, and only one of both has `tls: true`",
		"invalid: 3 problems",
	} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("nothing is said of %q:\n%s", want, r.Stderr)
		}
	}
	if r.Code != 1 {
		t.Errorf("exit code %d", r.Code)
	}
}

func path(name string, a *authority, kind string) string {
	return "'" + filepath.Join(a.folder, name, "tls."+kind) + "'"
}

// TestTLSDrain: a request that runs when the proxy stops is answered, and idle connections end in good order.
func TestTLSDrain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "web", "web.example")
	arrived, release := make(chan struct{}), make(chan struct{})
	origin := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}))
	p := harness.Start(t, "services:\n"+secured("web", origin.Addr, "web.example", "certificates: ["+a.source("web")+"]"), harness.Options{})
	address := p.Addr(t, "web")
	busy, err := dialTLS(t, address, "web.example", &tls.Config{RootCAs: a.pool})
	if err != nil {
		t.Fatal(err)
	}
	idle, err := dialTLS(t, address, "web.example", &tls.Config{RootCAs: a.pool})
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := over(t, idle, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"); r.StatusCode != http.StatusOK || r.Close {
		t.Fatal(r)
	}
	if _, err := io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: web.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	p.Signal(t, os.Interrupt)
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the idle connection ends with %v", err)
	}
	close(release)
	r, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if string(text) != "done" || err != nil || !r.Close {
		t.Errorf("%q, %v, close %t", text, err, r.Close)
	}
	if code := p.Wait(t); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

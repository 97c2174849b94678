package controllers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// tlsSecret makes a Secret with a certificate of its own for a host, and returns the key.
func (s *site) tlsSecret(t *testing.T, namespace, name, host string) []byte {
	t.Helper()
	var none *certificates.SelfSigned
	c := none.Of(name, []string{host})
	secret := s.secret(name, map[string][]byte{"tls.crt": c.Chain, "tls.key": c.Key})
	secret.Namespace = namespace
	if err := s.Client().Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	return c.Key
}

// insecure takes any certificate for a name: which one comes is looked at.
func insecure(name string) *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true}
}

// presented is who the certificate is for that an address has for a name, or the error of the handshake.
func presented(address, name string) string {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: kube.Patience}, Config: insecure(name)}
	conn, err := dialer.Dial("tcp", address) //nolint:noctx // the dialer has a time-out
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	var all []*x509.Certificate
	if secured, ok := conn.(*tls.Conn); ok {
		all = secured.ConnectionState().PeerCertificates
	}
	return strings.Join(all[0].DNSNames, " ")
}

// awaitPresented waits until an address has a certificate for the name.
func awaitPresented(t *testing.T, address, name string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		if got := presented(address, name); got != name {
			return fmt.Errorf("%s for %s: %s", address, name, got)
		}
		return nil
	})
}

// A revival is a replica that was started from the options of another, without a word to the API server.
type revival struct {
	plane *dataplane.DataPlane
	host  netip.Addr
	stale chan bool
	told  func() string
}

func (s *site) revive(t *testing.T, o controllers.Options, name, lastGood string) *revival {
	t.Helper()
	log, told := quiet()
	r := &revival{host: s.Address(t), stale: make(chan bool, 8), told: told}
	r.plane = dataplane.New(dataplane.Options{Log: log, Metrics: telemetry.NewMetrics("test")})
	o.Log, o.Plane, o.Replica, o.LastGood = log, &spy{DataPlane: r.plane, host: r.host}, name, lastGood
	o.Stale = func(since time.Time, stale bool) {
		if since.IsZero() == stale {
			t.Errorf("stale %v since %v", stale, since)
		}
		r.stale <- stale
	}
	c, err := controllers.New(o)
	if err != nil {
		r.plane.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("replica %s: %v", name, err)
		}
		r.plane.Close()
		if t.Failed() {
			t.Logf("replica %s has said:\n%s", name, told())
		}
	})
	return r
}

// awaitSaid waits for words in the log.
func (r *revival) awaitSaid(t *testing.T, words ...string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		for _, w := range words {
			if text := r.told(); !strings.Contains(text, w) {
				return fmt.Errorf("the log says nothing of %q:\n%s", w, text)
			}
		}
		return nil
	})
}

// awaitStale waits until it is told that what serves is stale, or is no more.
func (r *revival) awaitStale(t *testing.T, want bool) {
	t.Helper()
	select {
	case got := <-r.stale:
		if got != want {
			t.Errorf("stale %v, want %v", got, want)
		}
	case <-time.After(kube.Patience):
		t.Fatalf("nobody has said stale %v", want)
	}
}

// noLoss ends a load that must not have lost anything.
func noLoss(t *testing.T, name string, l *traffic.Load) {
	t.Helper()
	tally := l.Stop()
	t.Logf("%s: %v", name, tally)
	if tally.Lost > 0 || tally.Sent == 0 {
		t.Errorf("%s: lost: %v", name, tally.Losses)
	}
}

// TestOutage takes the API server away, first hanging and then gone, from replicas that serve, that start, and from the
// program. It is alone: the control plane is everybody's.
func TestOutage(t *testing.T) {
	s := newSite(t)
	s.web(t, "web", 2)
	s.tlsSecret(t, s.ns, "cert", "secure.example")
	create(t, s, "Secret", s.ns, "keys", map[string]string{"keys": "acme:sha256:" + strings.Repeat("0a", 32)})
	site := func(n int) string { // its path /v<n> is new
		return proxyService("shop", fmt.Sprintf(`bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}],
  routes: [{name: v%d, matches: [{path: {value: /v%d}}], filters: [{redirect: {path: /, code: 308}}]},
           {name: staff, matches: [{path: {value: /staff}}], auth: {apiKey: {keysRef: {name: keys, key: keys}}}}]`, n, n)) + "---\n" +
			proxyService("secure", "bindAddress: '${host}:443', tls: true, tlsConfig: {certificates: [{secretRef: {name: cert}}]},\n"+
				"  backends: [{service: {name: web, port: 80}}]")
	}
	s.apply(t, site(1))
	dir := t.TempDir()
	file := filepath.Join(dir, "last-good")
	first := s.start(t, func(o *controllers.Options) { o.LastGood = file })
	s.awaitProgrammed(t, "shop")
	s.awaitProgrammed(t, "secure")
	first.stop() // which completes the file
	survivor := s.start(t, func(o *controllers.Options) { o.Replica = "survivor" })
	s.awaitReady(t, survivor)
	awaitPresented(t, s.at(443), "secure.example")
	black := newBlackBox(t)

	load := traffic.Start(t, traffic.Options{Addr: s.at(80)})
	secured := traffic.Start(t, traffic.Options{Addr: s.at(443), TLS: insecure("secure.example"), Workers: 2})
	load.Await(t, 200)
	s.PauseAPIServer(t)
	load.Await(t, 500)
	unready := !survivor.plane.Ready()
	s.ResumeAPIServer(t)
	s.apply(t, site(2))
	awaitAnswer(t, s.at(80), "any/v2", "308")
	s.awaitProgrammed(t, "shop")

	s.StopAPIServer(t)
	began := time.Now()
	stale := s.revive(t, first.options, "stale", file)
	stale.awaitStale(t, true)
	t.Logf("the last good configuration serves %v after the start", time.Since(began).Round(time.Millisecond))
	if got := ask(serves(stale.host), "any/v1"); !strings.HasPrefix(got, "308") || !stale.plane.Ready() {
		t.Errorf("from the last good file comes %q, ready: %v", got, stale.plane.Ready())
	}
	if got := presented(netip.AddrPortFrom(stale.host, 443).String(), "secure.example"); got != "secure.example" {
		t.Errorf("from the last good file comes a certificate for %q", got)
	}
	if got := ask(serves(stale.host), "any/staff"); !strings.HasPrefix(got, "401") {
		t.Errorf("from the last good file, without a key: %q", got)
	}
	bare := first.options // whoever may read no Secrets any more has none from the file either
	bare.NoSecrets = true
	poor := s.revive(t, bare, "poor", file)
	poor.awaitStale(t, true)
	if got := ask(serves(poor.host), "any/staff"); got != "503 invalid_config" {
		t.Errorf("without Secrets, from the last good file: %q", got)
	}
	if got := ask(serves(poor.host), "any/v1"); !strings.HasPrefix(got, "308") {
		t.Errorf("without Secrets, another route: %q", got)
	}
	if got := presented(netip.AddrPortFrom(poor.host, 443).String(), "secure.example"); !strings.Contains(got, "error") {
		t.Errorf("without Secrets, a certificate for %q", got)
	}
	stale.awaitSaid(t, "may be stale")
	swapped := traffic.Start(t, traffic.Options{Addr: serves(stale.host)})

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	unusable := map[string]*revival{}
	for name, c := range map[string]struct {
		mode  os.FileMode
		text  []byte
		words string
	}{
		"changed":  {0o600, bytes.Replace(text, []byte(`/v1"`), []byte(`/v7"`), 1), "checksum"},
		"cut-off":  {0o600, text[:len(text)/2], "cut off"},
		"readable": {0o640, text, "others than its owner may access it"},
		"foreign":  {0o600, []byte("services: []\n"), "not of this program"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.text, c.mode); err != nil {
			t.Fatal(err)
		}
		unusable[name] = s.revive(t, first.options, name, path)
		unusable[name].awaitSaid(t, path, c.words, "no last good configuration")
	}
	unusable["none"] = s.revive(t, first.options, "none", "")
	load.Await(t, 500)
	for name, r := range unusable {
		if got := ask(serves(r.host), "any/v1"); r.plane.Ready() || !strings.Contains(got, "refused") || len(r.stale) > 0 {
			t.Errorf("%s: ready: %v, answer %q", name, r.plane.Ready(), got)
		}
	}
	program := black.start(t)
	unready = unready || !survivor.plane.Ready()

	s.StartAPIServer(t)
	s.apply(t, site(3)) // what changes while they look for the API server
	stale.awaitStale(t, false)
	for name, r := range unusable {
		awaitAnswer(t, serves(r.host), "any/v3", "308")
		if !r.plane.Ready() || len(r.stale) > 0 {
			t.Errorf("%s: ready: %v", name, r.plane.Ready())
		}
	}
	awaitAnswer(t, serves(stale.host), "any/v3", "308")
	awaitAnswer(t, s.at(80), "any/v3", "308")
	if got := ask(serves(stale.host), "any/v1"); got != "200 web-1" && got != "200 web-2" {
		t.Errorf("the old route is still there: %s", got)
	}
	total := int32(len(unusable)) + 3 // survivor, stale and poor
	s.await(t, "shop", replicas(total, total))
	if unready || !survivor.plane.Ready() {
		t.Error("the replica that served was not ready all the time")
	}
	noLoss(t, "serving", load)
	noLoss(t, "TLS", secured)
	noLoss(t, "from the last good file", swapped)
	black.finish(t, program)
}

// A blackBox is the program as it is installed, with a class of its own.
type blackBox struct {
	*site
	user *kube.User
}

func newBlackBox(t *testing.T) *blackBox {
	t.Helper()
	user, err := account()
	if err != nil {
		t.Fatal(err)
	}
	harness.Binary(t) // while nobody waits for it
	b := &blackBox{newSite(t), user}
	b.permit(t, b.ns)
	b.web(t, "web", 1)
	b.apply(t, shop(1))
	return b
}

func (b *blackBox) run(t *testing.T, arguments ...string) *harness.Proxy {
	t.Helper()
	return harness.Start(t, "", harness.Options{NoWait: true, Args: append([]string{
		"controller", "--kubeconfig", b.user.Kubeconfig, "--class", b.class, "--namespace", b.ns, "--replica-name", "program",
		"--watch-namespaces", b.ns,
	}, arguments...), Env: []string{"LOG_LEVEL=debug"}})
}

// probe asks the program whether it is ready, at both of its addresses.
func probe(t *testing.T, p *harness.Proxy, want int) {
	t.Helper()
	var listening int
	harness.Eventually(t, "the program listens", func() bool {
		listening = 0
		for _, l := range p.Log() {
			if l.Text("msg") == "listening" && l.Text("setting") != "" {
				listening++
			}
		}
		return listening == 2
	})
	for _, address := range []string{p.AdminAddr(t), p.MetricsAddr(t)} {
		for path, status := range map[string]int{"/readyz": want, "/livez": http.StatusOK} {
			kube.Eventually(t, kube.Patience, func() error {
				response, err := (&http.Client{Timeout: kube.Patience, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + path) //nolint:noctx // the client has a time-out
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, response.Body)
				if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != status {
					return fmt.Errorf("%s is %d, want %d (%w)", path, response.StatusCode, status, err)
				}
				return nil
			})
		}
	}
}

// start starts it while there is no API server.
func (b *blackBox) start(t *testing.T) *harness.Proxy {
	t.Helper()
	p := b.run(t)
	probe(t, p, http.StatusServiceUnavailable)
	return p
}

// finish waits until it serves what the cluster has, and ends it as a kubelet does.
func (b *blackBox) finish(t *testing.T, p *harness.Proxy) {
	t.Helper()
	probe(t, p, http.StatusOK)
	b.awaitProgrammed(t, "shop")
	awaitAnswer(t, b.at(80), "any/v1", "200 web-1")
	if _, err := b.lease(t.Context(), "program"); err != nil {
		t.Error(err)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("the program ended with code %d", code)
	}
	if _, err := b.lease(t.Context(), "program"); !apierrors.IsNotFound(err) {
		t.Errorf("the Lease of the program that ended: %v", err)
	}
}

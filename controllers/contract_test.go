package controllers_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// token makes a JWT.
func token(t *testing.T, key ed25519.PrivateKey, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]any{"alg": "EdDSA", "kid": "k", "typ": "JWT"}) + "." + part(claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

// TestContract applies the example that has everything an object can say, and asks for each part of it. It is not parallel:
// its addresses are those of all.
func TestContract(t *testing.T) {
	s := newSite(t)
	text, err := os.ReadFile(fixtures + "full-cr.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(strings.ReplaceAll(string(text), "namespace: shop", "namespace: "+s.ns), "\n---\n")
	for i := range documents { // the class is the test's; everything else is as it is
		documents[i] = strings.Replace(documents[i], "\nspec:\n", "\nspec:\n  className: "+s.class+"\n", 1)
	}
	edge, inside, clients := harness.NewAuthority(t, "edge"), harness.NewAuthority(t, "inside"), harness.NewAuthority(t, "clients")
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	chain, key := inside.Issue(t, nil, "admin.internal")
	pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	secured := &tls.Config{Certificates: []tls.Certificate{pair}}
	var copies atomic.Int64
	s.stand(t, "admin", 3002, secured, harness.Echo("admin"))
	s.stand(t, "admin-canary", 3002, secured, harness.Echo("canary"))
	s.stand(t, "shadow", 80, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/items" {
			copies.Add(1)
		}
	}))
	s.stand(t, "oauth2-proxy", 4180, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/auth" && r.Header.Get("Cookie") != "session=good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-User", "alice")
	}))
	s.stand(t, "oauth", 3001, nil, harness.Echo("oauth"))
	s.stand(t, "api", 8080, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/grpc.health.v1.Health/Check" {
			harness.Echo("api").ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, 1}) // SERVING
		w.Header().Set("Grpc-Status", "0")
	}))
	s.start(t, func(o *controllers.Options) {
		log, _ := quiet()
		plane := o.Plane.(*spy) //nolint:forcetypeassert // the rig says so
		plane.Close()
		plane.host = s.host
		plane.DataPlane = dataplane.New(dataplane.Options{
			Log: log, Metrics: telemetry.NewMetrics("test"), Resolver: resolver.Options{Hosts: os.DevNull, ResolvConf: os.DevNull},
		})
	})
	for _, d := range documents {
		s.apply(t, d)
	}
	// Nothing that it names is there.
	missing := s.awaitStatus(t, "admin-portal", "Accepted=True/Accepted", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=True/Programmed")
	for _, field := range []string{"tlsConfig.certificates[0]", "tlsConfig.clientAuth.caRef", "upstreamTLS.caRef", "requestSigning.keyRef"} {
		if text := message(missing, "ResolvedRefs"); !strings.Contains(text, field+": Secret `") {
			t.Errorf("nothing of %s: %s", field, text)
		}
	}
	chain, key = edge.Issue(t, nil, "admin.example.com", "*.admin.example.com")
	if err := s.Client().Create(t.Context(), s.secret("admin-tls", map[string][]byte{"tls.crt": []byte(chain), "tls.key": []byte(key)})); err != nil {
		t.Fatal(err)
	}
	create(t, s, "Secret", s.ns, "client-ca", map[string]string{"ca.crt": clients.PEM})
	create(t, s, "Secret", s.ns, "internal-ca", map[string]string{"ca.crt": inside.PEM})
	create(t, s, "Secret", s.ns, "signing-key", map[string]string{"key": strings.Repeat("s", 32)})
	s.awaitProgrammed(t, "oauth-service")
	s.awaitProgrammed(t, "admin-portal")
	s.await(t, "admin-portal", counted(5, 6)) // 10.0.0.9 is nowhere

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(edge.PEM))
	var forms [2]*asker
	for i := range forms {
		forms[i] = newAsker(t, s.at(8443), i == 1, &tls.Config{RootCAs: pool})
	}
	bearer := func(sub string) string {
		return "Authorization: Bearer " + token(t, private, map[string]any{
			"iss": "https://id.example.com", "aud": "admin", "exp": time.Now().Add(time.Hour).Unix(), "sub": sub,
		})
	}
	for _, a := range forms {
		a.expect(t, "/", "503", "auth_unavailable", bearer("alice")) // its provider cannot be reached
		a.expect(t, "/", "401", "")
		a.expect(t, "/login", "401", "", "X-User: mallory")
		a.expect(t, "/login", "200", `"X-User":["alice"]`, "Cookie: session=good", "X-User: mallory")
		if r := a.expect(t, "/login", "200", "admin.example.com", "Cookie: session=good", "Origin: https://example.com"); r.Header.Get("Access-Control-Allow-Origin") != "https://example.com" {
			t.Errorf("no CORS: %v", r.Header)
		}
	}
	// With keys at hand.
	create(t, s, "ConfigMap", s.ns, "jwks", map[string]string{
		"keys": fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"k","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public)),
	})
	s.apply(t, strings.Replace(documents[0], "jwksURL: https://id.example.com/jwks.json", "jwksRef: {name: jwks, key: keys, kind: ConfigMap}", 1))
	s.awaitProgrammed(t, "admin-portal")
	for i, a := range forms {
		me := fmt.Sprint("alice-", i)
		seen := map[string]int{}
		for range 60 {
			r := a.expect(t, "/x", "200", fmt.Sprintf(`"X-User":[%q]`, me), bearer(me), "X-User: mallory")
			seen[r.Header.Get("X-Origin")]++
			if r.Header.Get("Ratelimit") == "" || !strings.HasPrefix(r.Header.Get("Set-Cookie"), "PXS=") {
				t.Errorf("%v", r.Header)
			}
		}
		if seen["admin"] <= seen["canary"] || seen["admin"]+seen["canary"] != 60 {
			t.Errorf("weights: %v", seen)
		}
		a.expect(t, "/x", "200", `"Signature-Input":["pingora-proxy=(`, bearer(me))
		r := a.expect(t, "/api/v2/items?v=2", "200", `"target":"/items?v=2"`, bearer(me), "X-Beta: 1", "X-Debug: 1")
		if r.Header.Get("X-Origin") != "api" || !strings.Contains(r.body, `"X-Env":["prod"]`) || strings.Contains(r.body, "X-Debug") ||
			!strings.Contains(r.body, `"proto":"HTTP/2.0"`) {
			t.Errorf("%v %s", r.Header, r.body)
		}
		for n := 0; n < 500 && copies.Load() == 0; n++ { // one in twenty is mirrored
			a.expect(t, "/api/v2/items?v=2", "200", "", bearer(fmt.Sprint(me, "-", n)), "X-Beta: 1")
		}
		if copies.Swap(0) == 0 {
			t.Error("nothing is mirrored")
		}
		if r := a.expect(t, "/v1/x", "308", ""); r.Header.Get("Location") != "https://admin.example.com:8443/api/v2" {
			t.Errorf("%v", r.Header)
		}
	}
	if got := ask(s.at(6189), "any/"); got != "200 oauth" {
		t.Errorf("oauth-service: %s", got)
	}
}

// stand makes a Service with one endpoint, which serves both versions of HTTP.
func (s *site) stand(t *testing.T, service string, port int32, config *tls.Config, handler http.Handler) {
	t.Helper()
	address := s.Address(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", netip.AddrPortFrom(address, 8080).String())
	if err != nil {
		t.Fatal(err)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols, ReadHeaderTimeout: kube.Patience}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	s.ServiceWith(t, s.ns, service, corev1.ServiceSpec{Ports: []corev1.ServicePort{kube.Port("http", port, "8080")}})
	s.apply(t, fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, labels: {kubernetes.io/service-name: %s}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: ["%s"], conditions: {ready: true}}]
`, service, service, address))
}

// An asker is a client of one version of HTTP.
type asker struct {
	client *http.Client
	proto  string
}

func newAsker(t *testing.T, address string, two bool, config *tls.Config) *asker {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!two)
	protocols.SetHTTP2(two)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: config.Clone(), DialContext: dialTo(address)}
	t.Cleanup(transport.CloseIdleConnections)
	a := &asker{proto: "HTTP/1.1", client: &http.Client{
		Timeout: kube.Patience, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if two {
		a.proto = "HTTP/2.0"
	}
	return a
}

type answer struct {
	*http.Response
	body string
}

// expect asks for a path and wants a status and words in the body.
func (a *asker) expect(t *testing.T, path, status, words string, fields ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://admin.example.com:8443"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		request.Header.Add(name, value)
	}
	response, err := a.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.Proto != a.proto || strconv.Itoa(response.StatusCode) != status || !strings.Contains(string(body), words) {
		t.Errorf("%s %s %q: %s %d, want %s and %q:\n%s", a.proto, path, fields, response.Proto, response.StatusCode, status, words, body)
	}
	return answer{response, string(body)}
}

// dialTo dials one address, whatever is asked for.
func dialTo(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

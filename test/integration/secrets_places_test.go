package integration_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// An attempt sends secrets.
type attempt struct {
	t *testing.T
	c *matrix.Cell
	s *sieve
	// client is the cell's.
	client *http.Client
}

const (
	secretsURL = "https://" + secretsControl + ".example:8443"
	// ourOwn is in the body of every answer that the proxy makes itself.
	ourOwn = `"type":"about:blank"`
)

// ask sends a request with secrets in everything that clients keep secrets in. It may fail; what the proxy itself answers is
// looked at.
func (a *attempt) ask(method, url, body string, fields ...string) *matrix.Response {
	a.t.Helper()
	fields = append(fields, "X-Request-Id: "+secretsControl)
	for _, name := range []string{"Proxy-Authorization", "X-Auth-Token", "X-Csrf-Token", "X-Tenant", "Baggage", "Sec-WebSocket-Protocol", "X-Amz-Security-Token"} {
		fields = append(fields, name+": a="+a.s.make(name))
	}
	fields = append(fields, "Referer: https://example.com/?code="+a.s.make("referrer"))
	r, err := a.c.Try(a.client, matrix.Request(a.t, method, url, body, fields...))
	if err != nil {
		return nil // the answer was cut off
	}
	if strings.Contains(r.Body, ourOwn) {
		// What was no whole request has an id of the proxy's own.
		a.s.look(a.t, fmt.Sprintf("answer %d of %.60s", r.Status, url), fmt.Sprint(r.Status, r.Header, r.Body, secretsControl))
	}
	return r
}

// valid sends what the proxy asks for. Whether it gets through depends on whether the proxy has what it needs.
func (a *attempt) valid(token, password, key string) {
	a.t.Helper()
	post := func(path string, fields ...string) *matrix.Response {
		return a.ask(http.MethodPost, secretsURL+path, a.s.make("body of "+path), fields...)
	}
	get := func(path string, fields ...string) *matrix.Response {
		return a.ask(http.MethodGet, secretsURL+path, "", fields...)
	}
	post("/?access_token="+a.s.make("parameter"), "Cookie: session="+a.s.make("cookie")+"; PXS="+a.s.make("sticky cookie"))
	get("/jwt", "Authorization: Bearer "+token)
	get("/jwt", "Cookie: session="+token)
	get("/basic", "Authorization: "+basicAuth("bob", password))
	get("/key?x="+a.s.make("parameter beside a key"), "X-API-Key: "+key)
	get("/forward?code="+a.s.make("parameter of forward auth"), "Cookie: good="+a.s.make("good cookie"))
	post("/filters?match="+a.s.condition, "X-Match: "+a.s.condition)
	a.ask(http.MethodGet, strings.Replace(strings.Replace(secretsURL, "https", "http", 1), "8443", "8080", 1)+"/?key="+a.s.make("parameter over plain HTTP"), "")
}

// invalid sends what is refused, by the proxy or by those whom it asks.
func (a *attempt) invalid(token, wrong string) {
	a.t.Helper()
	get := func(path string, fields ...string) {
		a.t.Helper()
		a.ask(http.MethodGet, secretsURL+path, "", fields...)
	}
	get("/jwt", "Authorization: Bearer "+wrong)
	get("/jwt", "Authorization: Bearer "+a.s.make("no token"))
	get("/jwt", "Authorization: "+a.s.make("a scheme"))
	get("/jwt", "Authorization: Bearer "+token, "Authorization: Bearer "+a.s.make("second token"))
	get("/jwt", "Authorization: Bearer "+strings.Repeat(a.s.make("long token"), 300))
	get("/jwt?access_token=" + token)
	get("/fetched", "Authorization: Bearer "+wrong)
	get("/basic", "Authorization: "+basicAuth("bob", a.s.make("wrong password")))
	get("/basic", "Authorization: "+basicAuth(a.s.make("unknown user"), "x"))
	get("/basic", "Authorization: Basic "+a.s.make("no base64"))
	get("/key", "X-API-Key: "+a.s.make("wrong key"))
	get("/key?X-API-Key=" + a.s.make("key in a parameter"))
	get("/forward?code="+a.s.make("parameter of a stranger"), "Cookie: bad="+a.s.make("bad cookie"))
	get("/nowhere?code="+a.s.make("parameter to nowhere"), "Cookie: bad="+a.s.make("cookie to nowhere"))
	get("/gone?code="+a.s.make("parameter to who is gone"), "Cookie: bad="+a.s.make("cookie to who is gone"))
	for _, path := range []string{"status", "field", "cut", "chunk", "garbage"} {
		get("/raw/"+path+"?code="+a.s.make("parameter to the broken"), "Cookie: "+a.s.make("cookie to the broken"))
	}
	a.ask(http.MethodPost, secretsURL+"/limited", strings.Repeat(a.s.make("body that is too large"), 10))
	a.ask(http.MethodGet, "https://unknown.example:8443/?code="+a.s.make("parameter of another host"), "")
	a.ask("C4N4RY", secretsURL+"/jwt?code="+a.s.make("parameter of another method"), "")
	get("/?code=" + strings.Repeat(a.s.make("long parameter"), 1000))
	get("/", "Cookie: a="+strings.Repeat(a.s.make("long cookie"), 4000))
	get("/../%00?code=" + a.s.make("parameter of a bad path"))
}

// broken sends what is no request, over plain connections.
func (a *attempt) broken() {
	a.t.Helper()
	secret := a.s.make("what is sent where nothing is understood")
	fields := "Host: " + secretsControl + ".example\r\nAuthorization: Bearer " + secret + "\r\nCookie: a=" + secret + "\r\n"
	for _, text := range []string{
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + "X : " + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + "X: \x00" + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + "Content-Length: " + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + "Transfer-Encoding: " + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/1.1\r\n" + fields + "Expect: " + secret + "\r\n\r\n",
		"GET /?" + secret + " HTTP/9.9\r\n" + fields + "\r\n",
		"GET /?" + secret + "\r\n",
		"GET " + secret + " HTTP/1.1\r\n" + fields + "\r\n",
		"GET http://u:" + secret + "@" + secretsControl + ".example/ HTTP/1.1\r\n" + fields + "\r\n",
		"GET / HTTP/1.1\r\nHost: u:" + secret + "@" + secretsControl + ".example\r\n\r\n",
		"CONNECT u:" + secret + "@" + secretsControl + ".example:443 HTTP/1.1\r\n" + fields + "\r\n",
		"POST / HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\nzz" + secret + "\r\n",
		"POST / HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n1;" + secret + "\x00\r\n",
		"POST / HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n0\r\nX : " + secret + "\r\n\r\n",
		"POST / HTTP/1.1\r\n" + fields + "Content-Length: 9000\r\n\r\n" + secret,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + secret + secret,
		"GET / HTTP/1.1\r\n" + fields + "Upgrade: " + secret + "\r\nConnection: upgrade\r\n\r\n",
		secret, secret + "\r\n\r\n", "\x16\x03\x01" + secret, "\r\n\r\n" + secret + "\n\n",
		"PROXY TCP4 " + secret + " " + secret + " 1 2\r\n", "PROXY UNKNOWN " + secret + "\r\n" + secret + "\r\n\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\xff" + secret + strings.Repeat(secret, 10),
	} {
		for _, port := range []string{"8080", "8081", "8082", "8443"} {
			client := harness.Dial(a.t, a.c.Host+":"+port)
			if client.TrySend(text) != nil {
				continue
			}
			_ = client.Conn.CloseWrite() // it may be closed already
			_, _ = client.Rest()
			// What the endpoint of the TCP service and the echo answer is theirs.
			if got := client.Received(); strings.Contains(got, ourOwn) && len(a.s.secrets.In(got)) > 0 {
				a.t.Errorf("%q on %s: %q", text, port, got)
			}
		}
	}
}

// places looks into everything that a person may look at.
func (s *sieve) places(t *testing.T, c *matrix.Cell, client *http.Client, sink *spanSink, server *faulty.Redis) {
	t.Helper()
	// Whatever is written in the background is there when what came last is.
	last := fmt.Sprintf("/%s/%d", secretsControl, len(c.Proxy.AccessLog()))
	if _, err := c.Try(client, matrix.Request(t, http.MethodGet, strings.Replace(strings.Replace(secretsURL, "https", "http", 1), "8443", "8080", 1)+last, "")); err != nil {
		t.Fatal(err)
	}
	c.Proxy.AccessOf(t, last)
	harness.Eventually(t, "the collector has the last span", func() bool { return strings.Contains(sink.text(), last) })

	s.look(t, "the log", c.Proxy.LogText())
	s.look(t, "the access log", c.Proxy.AccessLogText())
	s.look(t, "spans", sink.text())
	s.look(t, "metrics", c.Proxy.MetricsText(t))
	s.look(t, "OpenMetrics", seenAt(t, "http://"+c.Proxy.MetricsAddr(t)+"/metrics", "application/openmetrics-text"))

	admin := "http://" + c.Proxy.AdminAddr(t)
	for path, control := range map[string]string{
		"/": "<title>", "/healthz": "ok", "/readyz": "ok", "/livez": "ok",
		"/api/v1/overview": `"version"`, "/api/v1/listeners": "8443", "/api/v1/services": secretsControl, "/api/v1/routes": secretsControl,
		"/api/v1/endpoints": secretsControl, "/api/v1/config": "hash", "/api/v1/status": secretsControl, "/api/v1/snapshot": secretsControl,
		"/api/v1/loglevel": "trace", "/api/v1/nothing": "404", "/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "pingora-proxy",
		"/api/v1/explain?method=POST&url=" + secretsURL + "/filters": secretsControl,
		"/debug/pprof/goroutine?debug=2":                             "goroutine", "/debug/pprof/heap?debug=1": "heap", "/debug/pprof/allocs?debug=1": "heap",
		"/debug/pprof/heap": "", "/debug/pprof/goroutine": "", "/debug/pprof/threadcreate?debug=1": "threadcreate", "/debug/pprof/symbol": "num_symbols",
	} {
		text := seenAt(t, admin+path, "")
		if !strings.Contains(text, control) || text == "" {
			t.Errorf("%s: %q is not in it:\n%.1000s", path, control, text)
		}
		// Where there is nothing that has a name the control is put beside it.
		s.look(t, path, text+"\n"+secretsControl)
	}

	store := redis.NewClient(&redis.Options{Addr: server.Address, Password: redisPassword, DB: 1})
	defer store.Close()
	keys, err := store.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := store.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		s.look(t, "a key of Redis", key+" "+secretsControl)
		s.look(t, "a value of Redis", value+" "+secretsControl)
	}
	if len(keys) == 0 {
		t.Error("there is nothing in Redis")
	}

	if c.Source == matrix.Object {
		statuses, others := c.Shown(t)
		s.look(t, "statuses", statuses)
		s.look(t, "Events and Leases", others)
		return
	}
	for _, arguments := range []string{"--validate -v -c", "--validate --output json -c", "explain " + secretsURL + "/filters -c", "diff --admin " + admin + " -c"} {
		r := harness.Run(t, nil, append(strings.Fields(arguments), c.Proxy.Path)...)
		s.look(t, arguments, r.Stdout+r.Stderr+"\n"+secretsControl)
	}
	for _, of := range []string{"cmdline", "environ"} { // the first is for everybody on the machine
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.Proxy.PID(), of))
		if err != nil {
			t.Fatal(err)
		}
		if of == "environ" == (len(s.secrets.In(string(text))) == 0) {
			t.Errorf("%s: %q", of, s.secrets.In(string(text)))
		}
	}
}

func basicAuth(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// text is all that the collector has got.
func (s *spanSink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, span := range s.spans {
		fmt.Fprintln(&b, span)
	}
	return b.String()
}

// seenAt gets what is at a URL, fields and body, whatever the status.
func seenAt(t *testing.T, url, accept string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintln(response.Status, response.Header) + string(body)
}

package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// authService lets X-Token: good pass, and answers others as X-Token says.
func authService(questions chan<- *http.Request, quit <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case questions <- r.Clone(r.Context()):
		default:
		}
		switch token := r.Header.Get("X-Token"); token {
		case "good":
			w.Header().Add("X-User", "alice")
			w.Header().Add("X-Groups", "a")
			w.Header().Add("X-Groups", "b")
			w.Header().Add("Set-Cookie", "seen=1")
			w.WriteHeader(http.StatusNoContent)
		case "login":
			w.Header().Set("Set-Cookie", "state=1")
			http.Redirect(w, r, "https://login.example/", http.StatusFound)
		case "slow":
			select {
			case <-quit:
			case <-r.Context().Done():
			}
		case "gone":
			panic(http.ErrAbortHandler)
		case "long":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
		case "broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sso"`)
			w.Header().Set("X-Inner", "1")
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "who are you?")
		}
	})
}

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		questions, quit := make(chan *http.Request, 1), make(chan struct{})
		defer close(quit)
		service := c.Origin(t, authService(questions, quit))
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    auth:
      forward:
        backend: {address: '`+service+`'}
        path: '/oauth2/auth?group=a&group=b'
        timeout_ms: 2000
        request_headers: [X-Token]
        response_headers: [X-User, X-Groups]
    routes:
      - name: public
        matches: [{path: {value: /public}}]
        auth: {mode: None}
      - name: nobody
        matches: [{path: {value: /nobody}}]
        auth: {forward: {backend: {address: '127.0.0.1:9'}}}
`)
		const at = "http://shop.example:8080"
		r := c.Do(t, "POST", at+"/a/../b?c=d", "hello", "X-Token: good", "X-User: root", "X-Other: 1", "Authorization: Bearer x", "Cookie: a=b",
			"X-Forwarded-Method: GET", "X-Forwarded-Uri: /public")
		if r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		e := harness.ParseEchoed(t, r.Body)
		if strings.Join(e.Header.Values("X-User"), " ") != "alice" || len(e.Header.Values("X-Groups")) != 2 || e.Bytes != 5 || e.Method != http.MethodPost {
			t.Errorf("the origin has seen %+v", e)
		}
		if r.Header.Get("Set-Cookie") != "seen=1" {
			t.Errorf("the client has seen %v", r.Header)
		}
		q := <-questions
		for name, want := range map[string]string{
			"X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/b?c=d", "X-Forwarded-Host": "shop.example:8080", "X-Forwarded-Proto": "http",
			"X-Token": "good", "Authorization": "Bearer x", "Cookie": "a=b", "X-User": "", "X-Other": "",
		} {
			if got := strings.Join(q.Header.Values(name), ", "); got != want {
				t.Errorf("the service was told %s: %q, want %q", name, got, want)
			}
		}
		if from := q.Header.Get("X-Forwarded-For"); from == "" || from != e.Header.Get("X-Forwarded-For") {
			t.Errorf("the service was told X-Forwarded-For: %q, the origin %q", from, e.Header.Get("X-Forwarded-For"))
		}
		if q.Method != http.MethodGet || q.RequestURI != "/oauth2/auth?group=a&group=b" || q.Host != service || q.ContentLength != 0 {
			t.Errorf("the service was asked %s %s of %s, %d bytes", q.Method, q.RequestURI, q.Host, q.ContentLength)
		}

		for name, test := range map[string]struct{ path, token, want, field, body string }{
			"nobody":     {"/", "none", "401 ", `WWW-Authenticate: Bearer realm="sso"`, "who are you?"},
			"login":      {"/", "login", "302 ", "Location: https://login.example/", ""},
			"its cookie": {"/", "login", "302 ", "Set-Cookie: state=1", ""},
			"500":        {"/", "broken", "500 ", "", ""},
			"long":       {"/", "long", "403 auth_denied", "", ""},
			"slow":       {"/", "slow", "503 auth_unavailable", "Retry-After: 5", ""},
			"gone":       {"/", "gone", "503 auth_unavailable", "", ""},
			"not there":  {"/nobody", "good", "503 auth_unavailable", "", ""},
			"public":     {"/public", "none", "200 ", "", ""},
		} {
			begun := time.Now()
			r := c.Get(t, at+test.path, "X-Token: "+test.token)
			if got := fmt.Sprint(r.Status, " ", reasonOf(r)); got != test.want || time.Since(begun) > harness.Patience/2 {
				t.Errorf("%s: %s after %v, want %s", name, got, time.Since(begun), test.want)
			}
			if field, value, _ := strings.Cut(test.field, ": "); r.Header.Get(field) != value {
				t.Errorf("%s: %s: %q, want %q", name, field, r.Header.Get(field), value)
			}
			if test.body != "" && r.Body != test.body || r.Header.Get("X-Inner") != "" {
				t.Errorf("%s: %v %q", name, r.Header, r.Body)
			}
		}
	})
}

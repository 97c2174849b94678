package integration_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// Hashes that other programs have made.
const (
	hashOfUU       = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"                           // U*U
	hashOfPassword = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc" // password
)

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "htpasswd", "# people\nbob:"+hashOfUU+"\ncarol:"+hashOfPassword+"\n")
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    auth: {basic: {users_ref: {file: '${dir}/htpasswd'}, realm: the shop, user_header: X-User}}
    routes:
      - name: public
        matches: [{path: {value: /public}}]
        auth: {mode: None}
`)
		ask := func(path, name, password string, fields ...string) *matrix.Response {
			t.Helper()
			if name != "" {
				fields = append(fields, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(name+":"+password)))
			}
			return c.Get(t, "http://shop.example:8080"+path, fields...)
		}
		for range 2 { // the second time it is remembered
			for name, password := range map[string]string{"bob": "U*U", "carol": "password"} {
				r := ask("/", name, password, "X-User: root")
				if r.Status != 200 {
					t.Fatalf("%s: %d %s", name, r.Status, r.Body)
				}
				e := harness.ParseEchoed(t, r.Body)
				if got := strings.Join(e.Header.Values("X-User"), " "); got != name || e.Header.Get("Authorization") == "" {
					t.Errorf("the origin has seen %v", e.Header)
				}
			}
		}
		for name, test := range map[string]struct{ path, user, password, want string }{
			"nobody":   {"/", "", "", "401 unauthorized"},
			"wrong":    {"/", "bob", "canary-password", "401 credentials_invalid"},
			"unknown":  {"/", "mallory", "U*U", "401 credentials_invalid"},
			"public":   {"/public", "", "", "200 "},
			"its dots": {"/public/..", "", "", "401 unauthorized"},
		} {
			r := ask(test.path, test.user, test.password)
			if got := fmt.Sprint(r.Status, " ", reasonOf(r)); got != test.want {
				t.Errorf("%s: %s, want %s", name, got, test.want)
			}
			if r.Status == 401 && r.Header.Get("WWW-Authenticate") != `Basic realm="the shop", charset="UTF-8"` {
				t.Errorf("%s: %s", name, r.Header.Get("WWW-Authenticate"))
			}
		}
		if e := harness.ParseEchoed(t, ask("/public", "", "", "X-User: root").Body); e.Header.Get("X-User") != "" {
			t.Errorf("without auth a client says who it is: %v", e.Header)
		}

		// Who is taken off the list is out at once, whatever was remembered.
		c.Write(t, "htpasswd", "carol:"+hashOfPassword+"\n")
		harness.Eventually(t, "the shorter list", func() bool { return ask("/", "bob", "U*U").Status == 401 })
		if r := ask("/", "carol", "password"); r.Status != 200 {
			t.Errorf("who is still on it: %d", r.Status)
		}
		// A list that cannot be read never lets anybody in whom the last one did not.
		c.Write(t, "htpasswd", "carol:"+hashOfPassword+"\nbob:canary-hash\n")
		if c.Source == matrix.Object {
			harness.Eventually(t, "503 for a list that cannot be read", func() bool {
				r := ask("/", "carol", "password")
				return r.Status == 503 && reasonOf(r) == "invalid_config"
			})
			if r := ask("/public", "", ""); r.Status != 200 {
				t.Errorf("a route without auth: %d", r.Status)
			}
			c.Remove(t, "htpasswd")
		} else {
			harness.Eventually(t, "a complaint about line 2", func() bool { return strings.Contains(c.Proxy.LogText(), "line 2") })
		}
		if r := ask("/", "bob", "U*U"); r.Status != 401 && r.Status != 503 {
			t.Errorf("with a list that cannot be read: %d", r.Status)
		}
		for _, secret := range []string{"canary", "U*U", "CCCCCC", "c29tZXNhbHQ", base64.StdEncoding.EncodeToString([]byte("bob:U*U"))} {
			if strings.Contains(c.Proxy.LogText()+c.Proxy.AccessLogText(), secret) {
				t.Errorf("%s is in the log", secret)
			}
		}
	})
}

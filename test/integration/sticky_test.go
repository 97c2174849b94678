package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// setCookie returns the Set-Cookie field of a response, and the cookie as a request carries it.
func setCookie(r *matrix.Response) (field, cookie string) {
	field = r.Header.Get("Set-Cookie")
	cookie, _, _ = strings.Cut(field, ";")
	return field, cookie
}

func TestSticky(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		chain, key := harness.NewAuthority(t, "test").Issue(t, nil, "shop.example")
		c.Write(t, "tls.crt", chain)
		c.Write(t, "tls.key", key)
		c.Write(t, "cookie.key", "0123456789abcdef\n")
		at := named(t, c, 4)
		service := func(upstreams ...string) string {
			list := strings.Join(upstreams, "', '")
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['%s']
    health_check: {type: Disabled}
    load_balancing: {sticky: {cookie_name: SHOP, ttl_secs: 600, key_ref: {file: '${dir}/cookie.key'}}}
  - name: secure
    bind_address: '${host}:8443'
    tls: true
    tls_config: {certificates: [{cert_file: '${dir}/tls.crt', key_file: '${dir}/tls.key'}]}
    upstreams: ['%s']
    health_check: {type: Disabled}
    load_balancing: {sticky: {}}
`, list, list)
		}
		c.Serve(t, service(at...))
		get := func(fields ...string) *matrix.Response {
			t.Helper()
			r := c.Get(t, "http://shop.example:8080/", fields...)
			if r.Status != http.StatusOK {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			return r
		}
		r := get()
		home := r.Header.Get("X-Origin")
		field, cookie := setCookie(r)
		if !strings.HasPrefix(field, "SHOP=") || !strings.HasSuffix(field, "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax") {
			t.Errorf("the cookie is %q", field)
		}
		for i, a := range at {
			if strings.Contains(field, a) || strings.Contains(field, strings.Split(a, ":")[1]) {
				t.Errorf("the cookie shows the address of origin %d", i)
			}
		}
		stays := func(when string) {
			t.Helper()
			for range 6 {
				r := get("Cookie: x=y; " + cookie)
				if f, _ := setCookie(r); r.Header.Get("X-Origin") != home || f != "" {
					t.Fatalf("%s the client of %s went to %s, and got %q", when, home, r.Header.Get("X-Origin"), f)
				}
			}
		}
		stays("at first")
		c.Serve(t, service(at...)+"    timeouts: {idle_secs: 30}\n")
		stays("after a reload")
		for _, forged := range []string{strings.ToLower(cookie), cookie[:len(cookie)-2] + "xx", "SHOP=" + at[0]} {
			if f, _ := setCookie(get("Cookie: " + forged)); f == "" && !strings.EqualFold(forged, "") {
				t.Errorf("%q was followed", forged)
			}
		}

		// Its endpoint leaves: the client gets another one, and another cookie, which it keeps when the first is back.
		var left []string
		for i, a := range at {
			if fmt.Sprint(i) != home {
				left = append(left, a)
			}
		}
		c.Serve(t, service(left...))
		r = get("Cookie: " + cookie)
		if _, next := setCookie(r); r.Header.Get("X-Origin") == home || next == "" || next == cookie {
			t.Errorf("origin %s is gone: %s answers, with the cookie %q", home, r.Header.Get("X-Origin"), next)
		} else {
			home, cookie = r.Header.Get("X-Origin"), next
		}
		c.Serve(t, service(at...))
		stays("with all origins again")

		r = c.Get(t, "https://shop.example:8443/")
		if f, _ := setCookie(r); !strings.HasPrefix(f, "PXS=") || !strings.HasSuffix(f, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure") {
			t.Errorf("over TLS the cookie is %q", f)
		}
		// The key is read again when it changes: the cookies of the old one are not followed.
		c.Write(t, "cookie.key", "fedcba9876543210")
		harness.Eventually(t, "the new key", func() bool {
			f, _ := setCookie(get("Cookie: " + cookie))
			return f != ""
		})
	})
}

// Without its key a route answers 503: clients would lose their endpoints without a word.
func TestStickyWithoutItsKey(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "short.key", "0123456789")
		c.Refused(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    load_balancing: {sticky: {key_ref: {file: '${dir}/short.key'}}}
`, "fewer than 16 bytes")
	})
}

package integration_test

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestRedirect: every code, and every part of the location.
func TestRedirect(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    routes:
      - {name: moved, matches: [{path: {value: /301}}], filters: [{redirect: {scheme: https, code: 301}}]}
      - {name: found, matches: [{path: {value: /302}}], filters: [{redirect: {host: www.example.com}}]}
      - {name: other, matches: [{path: {value: /303}}], filters: [{redirect: {path: '/here/./x', code: 303}}]}
      - {name: temporary, matches: [{path: {value: /307}}], filters: [{redirect: {port: 8443, code: 307}}]}
      - name: permanent
        matches: [{path: {type: Regex, value: '^/308/([a-z]+)/(.*)$'}}]
        filters: [{redirect: {scheme: https, host: www.example.com, port: 443, path: '/${2}/$1', code: 308}}]
`)
		for target, want := range map[string]struct {
			status   int
			location string
		}{
			"/301/x?q=1":        {301, "https://shop.example/301/x?q=1"},
			"/302/x?":           {302, "http://www.example.com:8080/302/x?"},
			"/303?a=b":          {303, "http://shop.example:8080/here/x?a=b"},
			"/307/%7Ex":         {307, "http://shop.example:8443/307/~x"},
			"/308/a/b%2Fc/?q=1": {308, "https://www.example.com/b%2Fc/a?q=1"},
			"/308/a/..%2f..":    {400, ""},
		} {
			for _, method := range [...]string{"GET", "POST", "HEAD"} {
				body := ""
				if method == "POST" {
					body = "some body"
				}
				r := c.Do(t, method, "http://shop.example:8080"+target, body)
				if r.Status != want.status || r.Header.Get("Location") != want.location {
					t.Errorf("%s %s: %d to %q, want %d to %q", method, target, r.Status, r.Header.Get("Location"), want.status, want.location)
				}
			}
		}
	})
}

package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestTrailersBringNothingThatWasRemoved: a field that a filter has removed or written, or that only the proxy writes, does
// not come behind the body either, for endpoints that read a trailer as if it had stood in the head.
func TestTrailersBringNothingThatWasRemoved(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		key := newTokenKey(t, "k")
		c.Write(t, "users", "bob:"+hashOfUU+"\n")
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    auth: {jwt: [{name: corp, issuer: corp, jwks: '`+jwks(t, key)+`', claims_to_headers: {sub: X-User}}]}
    sanitize: {request_headers: [X-Internal]}
    routes:
      - {name: public, matches: [{path: {value: /public}}], auth: {mode: None}}
      - name: basic
        matches: [{path: {value: /basic}}]
        auth: {basic: {users_ref: {file: '${dir}/users'}, user_header: X-Name}}
      - name: changed
        matches: [{path: {value: /changed}}]
        filters: [{request_headers: {set: {X-Role: guest}, remove: [X-Debug]}}]
`)
		bearer := "Authorization: Bearer " + key.token(t, map[string]any{"iss": "corp", "sub": "alice"})
		for path, want := range map[string]string{
			"/":        "X-Debug X-Name X-Role X-Sum",
			"/public":  "X-Debug X-Name X-Role X-Sum",
			"/basic":   "X-Debug X-Role X-Sum",
			"/changed": "X-Name X-Sum",
		} {
			credentials := bearer
			if path == "/basic" {
				credentials = "Authorization: Basic Ym9iOlUqVQ=="
			}
			names := []string{
				"X-User", "X-Name", "X-Internal", "X-Role", "X-Debug", "X-Sum", "X-Client-Cert-Subject", "X-Real-Ip", "X-Forwarded-User", "Proxy",
			}
			r := matrix.Request(t, "POST", "http://shop.example:8080"+path, "hello", credentials)
			r.ContentLength, r.Trailer = -1, http.Header{}
			for _, name := range names {
				r.Trailer.Set(name, "forged")
			}
			response, err := c.Try(c.Client(t, nil), r)
			if err != nil || response.Status != 200 {
				t.Errorf("%s: %v %v", path, response, err)
				continue
			}
			e := harness.ParseEchoed(t, response.Body)
			var got []string
			for _, name := range []string{
				"Proxy", "X-Client-Cert-Subject", "X-Debug", "X-Forwarded-User", "X-Internal", "X-Name", "X-Real-Ip", "X-Role", "X-Sum", "X-User",
			} {
				if len(e.Trailer.Values(name)) > 0 {
					got = append(got, name)
				}
			}
			if have := strings.Join(got, " "); have != want {
				t.Errorf("%s: the endpoint gets the trailer %s, want %s", path, have, want)
			}
		}
	})
}

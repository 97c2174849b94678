package integration_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestAccess: both the service and the route must let a client's address pass, whatever the connection is to.
func TestAccess(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		config := `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    client_ip: {trusted_proxies: [127.0.0.0/8, 10.99.0.0/16]}
    access: {deny: [203.0.113.0/24, '2001:db8:bad::/48']}
    routes:
      - name: inner
        matches: [{path: {value: /inner}}]
        access: {allow: [10.1.0.0/16, 203.0.113.7, '2001:db8::/32'], deny: [10.1.9.0/24]}
      - name: old
        matches: [{path: {value: /old}}]
        filters: [{redirect: {path: /new}}]
`
		c.Serve(t, config)
		const url = "http://shop.example:8080"
		for _, test := range []struct {
			client, path string
			status       int
		}{
			{"192.0.2.1", "/", 200},
			{"203.0.113.9", "/", 403},
			{"203.0.113.9", "/old", 403}, // before anything else is said
			{"192.0.2.1", "/old", 302},
			{"::ffff:203.0.113.9", "/", 403},
			{"2001:db8:bad::1", "/", 403},
			{"2001:db8::1", "/", 200},
			{"10.1.2.3", "/inner/x", 200},
			{"10.1.9.3", "/inner/x", 403},
			{"10.9.2.3", "/inner/x", 403},
			{"192.0.2.1", "/inner", 403},
			{"192.0.2.1", "//inner", 403}, // the path that is matched is the one that is sent
			{"192.0.2.1", "/x/../inner", 403},
			{"192.0.2.1", "/%69nner", 403},
			{"203.0.113.7", "/inner", 403}, // the service denies what the route allows
			{"2001:db8:bad::1", "/inner", 403},
			{"2001:db8::1", "/inner", 200},
			{"10.1.2.3, 203.0.113.9", "/", 403}, // only the last hop is trusted
			{"203.0.113.9, 192.0.2.1", "/", 200},
		} {
			r := c.Get(t, url+test.path, "X-Forwarded-For: "+test.client)
			if r.Status != test.status {
				t.Errorf("%s for %s: %d, want %d", test.path, test.client, r.Status, test.status)
			}
			if r.Status == 403 && (!strings.Contains(r.Body, `"reason":"access_denied"`) || strings.Contains(r.Body, "203.0.113")) {
				t.Errorf("the answer is %s", r.Body)
			}
		}

		// Nobody else's word counts.
		c.Serve(t, strings.Replace(config, "client_ip: {trusted_proxies: [127.0.0.0/8, 10.99.0.0/16]}", "", 1))
		if r := c.Get(t, url+"/", "X-Forwarded-For: 203.0.113.9"); r.Status != 200 {
			t.Errorf("a client that says that it is another: %d", r.Status)
		}
		if r := c.Get(t, url+"/inner", "X-Forwarded-For: 10.1.2.3", "X-Real-IP: 10.1.2.3", "Forwarded: for=10.1.2.3"); r.Status != 403 {
			t.Errorf("a client that says that it may: %d", r.Status)
		}
		c.Serve(t, strings.Replace(config, "access: {deny: [", "access: {allow: [127.0.0.0/8, 10.99.0.0/16], deny: [", 1))
		if r := c.Get(t, url+"/"); r.Status != 200 {
			t.Errorf("the address of the connection: %d", r.Status)
		}
	})
}

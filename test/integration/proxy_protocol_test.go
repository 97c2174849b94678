package integration_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestProxyProtocolIn: the client is who the header says, over plain HTTP and over TLS; who sends none, or is not trusted,
// is closed.
func TestProxyProtocolIn(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		chain, key := ours.Issue(t, nil, "a.test")
		c.Write(t, "site.crt", chain)
		c.Write(t, "site.key", key)
		c.Serve(t, `
  - name: plain
    bind_address: '${host}:8080'
    client_ip: {proxy_protocol: true, trusted_proxies: [10.99.0.0/16, 127.0.0.0/8]}
    upstreams: ['${origin}']
  - name: secure
    bind_address: '${host}:8443'
    tls: true
    tls_config: {certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]}
    client_ip: {proxy_protocol: true, trusted_proxies: [10.99.0.0/16, 127.0.0.0/8]}
    upstreams: ['${origin}']
  - name: strangers
    bind_address: '${host}:8081'
    client_ip: {proxy_protocol: true, trusted_proxies: [192.0.2.0/24]}
    upstreams: ['${origin}']
`)
		const v1 = "PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\n"
		const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x13\xc0\x00\x02\x07\xc0\x00\x02\x09\x04\xd2\x01\xbb\x05\x00\x04\x01\x02\x03\x04"
		probe := harness.Dial(t, c.Host+":8080")
		self, _, err := net.SplitHostPort(probe.Conn.LocalAddr().String()) // how the cell's clients come
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			what, header, url string
			client            string // empty: no answer
		}{
			{"version 1", v1, "http://a.test:8080/", "192.0.2.7"},
			{"version 2", v2, "http://a.test:8080/", "192.0.2.7"},
			{"version 1", v1, "https://a.test:8443/", "192.0.2.7"},
			{"version 2", v2, "https://a.test:8443/", "192.0.2.7"},
			{"unknown", "PROXY UNKNOWN\r\n", "http://a.test:8080/", self},
			{"none", "", "http://a.test:8080/", ""},
			{"none", "", "https://a.test:8443/", ""},
			{"not trusted", v1, "http://a.test:8081/", ""},
		} {
			client := c.Client(t, &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS12})
			transport := client.Transport.(*http.Transport)
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := dial(ctx, network, address)
				if err == nil {
					_, err = io.WriteString(nc, tt.header)
				}
				return nc, err
			}
			r, err := c.Try(client, matrix.Request(t, http.MethodGet, tt.url, ""))
			switch {
			case tt.client == "":
				if err == nil {
					t.Errorf("%s, %s: %+v", tt.what, tt.url, r)
				}
			case err != nil:
				t.Errorf("%s, %s: %v", tt.what, tt.url, err)
			default:
				if got := harness.ParseEchoed(t, r.Body).Header.Get("X-Forwarded-For"); got != tt.client {
					t.Errorf("%s, %s: the client is %s, want %s", tt.what, tt.url, got, tt.client)
				}
			}
		}
		if n := c.Proxy.Metric(t, "pingora_proxy_rejected_connections_total", "reason", "proxy_protocol"); n < 3 {
			t.Errorf("%v connections were refused, want 3 or more", n)
		}
	})
}

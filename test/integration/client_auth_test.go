package integration_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestClientAuth: who comes in with which certificate, what the endpoint is told, and what a reload changes.
func TestClientAuth(t *testing.T) {
	t.Parallel()
	ours, others := harness.NewAuthority(t, "ours"), harness.NewAuthority(t, "others")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		chain, key := ours.Issue(t, nil, "must.test", "may.test", "open.test")
		c.Write(t, "site.crt", chain)
		c.Write(t, "site.key", key)
		c.Write(t, "clients.pem", ours.PEM)
		c.Serve(t, `
  - name: must
    bind_address: '${host}:8443'
    hosts: [must.test]
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      client_auth: {mode: Require, ca_ref: {file: '${dir}/clients.pem'}}
    client_ip: {trusted_proxies: [10.99.0.0/16, 127.0.0.0/8]}
    upstreams: ['${origin}']
  - name: may
    bind_address: '${host}:8443'
    hosts: [may.test]
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      client_auth: {mode: Optional, ca_ref: {file: '${dir}/clients.pem'}}
    upstreams: ['${origin}']
  - name: open
    bind_address: '${host}:8443'
    hosts: [open.test]
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
    upstreams: ['${origin}']
`)
		client := func(pair *tls.Certificate) *http.Client {
			config := &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS12}
			if pair != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
			}
			return c.Client(t, config)
		}
		ann, eve := ours.Pair(t, "ann"), others.Pair(t, "ann")
		known, unknown, none := client(&ann), client(&eve), client(nil)
		forged := []string{"X-Client-Cert-Subject: CN=root", "x-client-cert-FINGERPRINT: 00", "X-Client_Cert_Subject: CN=root"}
		for _, tt := range []struct {
			who    string
			client *http.Client
			host   string
			status int // 0: no connection
			told   bool
		}{
			{"ann", known, "must.test", 200, true},
			{"eve", unknown, "must.test", 0, false},
			{"nobody", none, "must.test", 0, false},
			{"ann", known, "may.test", 200, true},
			{"eve", unknown, "may.test", 0, false},
			{"nobody", none, "may.test", 200, false},
			{"nobody", none, "open.test", 200, false},
		} {
			r, err := c.Try(tt.client, matrix.Request(t, http.MethodGet, "https://"+tt.host+":8443/", "", forged...))
			if (err == nil) != (tt.status != 0) || err == nil && r.Status != tt.status {
				t.Errorf("%s at %s: %+v %v", tt.who, tt.host, r, err)
				continue
			}
			if err != nil {
				continue
			}
			subject, fingerprint := "", ""
			for name, values := range harness.ParseEchoed(t, r.Body).Header {
				switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
				case "x-client-cert-subject":
					subject += strings.Join(values, "|")
				case "x-client-cert-fingerprint":
					fingerprint += strings.Join(values, "|")
				}
			}
			if (subject == "CN=ann" && len(fingerprint) == 64) != tt.told || !tt.told && subject+fingerprint != "" {
				t.Errorf("%s at %s: the endpoint is told %q and %q", tt.who, tt.host, subject, fingerprint)
			}
		}

		// A connection for another host is told to come again.
		r := matrix.Request(t, http.MethodGet, "https://open.test:8443/", "")
		r.Host = "must.test:8443"
		if got, err := c.Try(none, r); err != nil || got.Status != 421 {
			t.Errorf("must.test over the connection of open.test: %+v %v", got, err)
		}

		// The connection that is open was verified with what counts no more.
		c.Write(t, "clients.pem", others.PEM)
		harness.Eventually(t, "the new authority counts", func() bool {
			got, err := c.Try(client(&eve), matrix.Request(t, http.MethodGet, "https://must.test:8443/", ""))
			return err == nil && got.Status == 200
		})
		if got, err := c.Try(known, matrix.Request(t, http.MethodGet, "https://must.test:8443/", "")); err == nil && got.Status != 421 {
			t.Errorf("ann, on her old connection: %+v", got)
		}
		if got, err := c.Try(client(&ann), matrix.Request(t, http.MethodGet, "https://must.test:8443/", "")); err == nil {
			t.Errorf("ann, on a new connection: %+v", got)
		}
	})
}

// TestClientAuthWithoutAuthority: a bundle that cannot be used is said to be, and lets nobody in.
func TestClientAuthWithoutAuthority(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		chain, key := ours.Issue(t, nil, "a.test")
		c.Write(t, "site.crt", chain)
		c.Write(t, "site.key", key)
		c.Write(t, "bad.pem", "no certificate\n")
		c.Refused(t, `
  - name: a
    bind_address: '${host}:8443'
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      client_auth: {ca_ref: {file: '${dir}/bad.pem'}}
    upstreams: ['${origin}']
`, "holds no certificate")
	})
}

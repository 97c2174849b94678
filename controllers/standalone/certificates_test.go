package standalone

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

// made is a certificate for a test.
func made() material.Certificate {
	var none *certificates.SelfSigned
	return none.Of("test", nil)
}

// securedBy is a configuration with these files for a certificate.
func securedBy(cert, key string) string {
	return head + "    tls: true\n    tls_config:\n      certificates:\n        - {cert_file: '" + cert + "', key_file: '" + key + "'}\n"
}

func TestCertificateProblemsHavePlaces(t *testing.T) {
	dir := t.TempDir()
	good := made()
	write(t, filepath.Join(dir, "good.crt"), string(good.Chain))
	write(t, filepath.Join(dir, "good.key"), string(good.Key))
	write(t, filepath.Join(dir, "other.key"), string(made().Key))
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct{ text, want string }{
		{securedBy(at("good.crt"), at("good.key")), ""},
		{securedBy(at("none.crt"), at("good.key")), "f:8:11: services[0].tls_config.certificates[0]: " + at("none.crt") + ": there is no such file"},
		{securedBy(at("good.crt"), dir), "f:8:11: services[0].tls_config.certificates[0]: " + dir + ": is a folder"},
		{securedBy(at("good.crt"), at("other.key")), "f:8:11: services[0].tls_config.certificates[0]: " + at("good.crt") + ": tls: private key does not match public key"},
		{securedBy(at("good.key"), at("good.key")), "f:8:11: services[0].tls_config.certificates[0]: " + at("good.key") + ": tls: failed to find certificate PEM data"},
		{
			"apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: a}\n" +
				"spec:\n  bindAddress: '127.0.0.1:80'\n  upstreams: ['10.0.0.1:80']\n  tls: true\n" +
				"  tlsConfig: {certificates: [{secretRef: {name: shop}}]}\n",
			"f:8:30: spec.tlsConfig.certificates[0]: Secret `shop` cannot be read: Secrets exist in a cluster alone",
		},
	} {
		l, problems := LoadBytes("f", []byte(tt.text), Options{})
		got := strings.Join(lines(problems), "\n")
		if (l != nil) != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s\ngot  %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// chain waits for a configuration with that certificate.
func (r *running) chain(t *testing.T, want material.Certificate) {
	t.Helper()
	for {
		select {
		case l := <-r.applied:
			if bytes.Equal(l.Snapshot.Listeners[0].Services[0].TLS.Certificates[0].Chain, want.Chain) {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the certificate was never applied; log:\n%s", r.logged())
		}
	}
}

// TestSourceFollowsCertificates, also through the links with which Kubernetes and ACME clients replace them; one that is
// bad changes nothing.
func TestSourceFollowsCertificates(t *testing.T) {
	dir := t.TempDir()
	put := func(folder string, c material.Certificate) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, folder, "tls.key"), string(c.Key))
		write(t, filepath.Join(dir, folder, "tls.crt"), string(c.Chain))
	}
	link := func(folder string) {
		t.Helper()
		if err := os.Symlink(folder, filepath.Join(dir, "certs", "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "certs", "..tmp"), filepath.Join(dir, "certs", "..data")); err != nil {
			t.Fatal(err)
		}
	}
	first, second, third := made(), made(), made()
	put("certs/..1", first)
	link("..1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("..data/"+name, filepath.Join(dir, "certs", name)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "conf", "c.yaml")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, securedBy(filepath.Join(dir, "certs", "tls.crt"), filepath.Join(dir, "certs", "tls.key")))
	r := follow(t, path, nil) // it waits for the first one
	put("certs/..2", second)
	link("..2")
	r.chain(t, second)
	bad := second
	bad.Key = first.Key
	put("certs/..3", bad)
	link("..3")
	r.refused(t)
	put("certs/..4", third)
	link("..4")
	r.chain(t, third)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestSelfSignedIsOneForAllReloads, and whoever only looks at a configuration leaves nothing behind.
func TestSelfSignedIsOneForAllReloads(t *testing.T) {
	state := t.TempDir()
	path := filepath.Join(t.TempDir(), "c.yaml")
	write(t, path, head+"    tls: true\n")
	o := Options{Path: path, Environment: func(name string) (string, bool) { return state, name == "STATE_DIRECTORY" }}
	first := mustLoad(t, o)
	if left, err := os.ReadDir(state); err != nil || len(left) != 0 {
		t.Errorf("a look left %v behind, %v", left, err)
	}
	var chains []string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		s := NewSource(o, logr.Discard(), nil)
		applied := 0
		err := s.Run(ctx, first, func(l *Loaded) error {
			chains = append(chains, string(l.Snapshot.Listeners[0].Services[0].TLS.Certificates[0].Chain))
			if applied++; applied == 2 {
				cancel()
			} else {
				s.Reload()
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range chains {
		if c != chains[0] || c == "" {
			t.Errorf("the certificates are not the same")
		}
	}
	if len(chains) != 4 {
		t.Errorf("%d configurations were applied, want 4", len(chains))
	}
}

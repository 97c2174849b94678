package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FullConfig returns the configuration with every field, test/fixtures/config/full.yaml, and makes the files that it names.
func FullConfig(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "test/fixtures/config/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	authority := NewAuthority(t, "full")
	chain, key := authority.Issue(t, nil, "shop.example.com", "*.shop.example.com")
	for name, content := range map[string]string{
		"tls.crt": chain, "tls.key": key, "clients.pem": authority.PEM, "internal.pem": authority.PEM,
		"redis.password": "secret\n", "sign.key": strings.Repeat("k", 32), "jwks.json": `{"keys": []}`,
		"htpasswd":      "user:$2y$05$BX33yb1x9DyWo8R/g41Kq.4tmMbQdYP0xZ1iYqnu3/rUIA5ScRm9.\n",
		"partners.keys": "partner:sha256:" + strings.Repeat("0a", 32) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(string(text), "/etc/pingora-proxy", dir)
}

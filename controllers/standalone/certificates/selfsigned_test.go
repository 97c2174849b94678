package certificates

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

func environment(list map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := list[name]
		return v, ok
	}
}

func leafNames(t *testing.T, c material.Certificate) []string {
	t.Helper()
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil || c.Problem != "" {
		t.Fatal(err, c.Problem)
	}
	names := slices.Clone(pair.Leaf.DNSNames)
	for _, ip := range pair.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// TestSelfSignedIsKept over restarts, for as long as its names are those of the service; nobody else may read it.
func TestSelfSignedIsKept(t *testing.T) {
	state := t.TempDir()
	vars := environment(map[string]string{"STATE_DIRECTORY": state + ":/elsewhere", "HOME": "/nowhere"})
	hosts := []string{"Shop.example", "*.shop.example", "192.0.2.7"}
	first := NewSelfSigned(vars, logr.Discard()).Of("team/shop", hosts)
	if names := leafNames(t, first); !slices.Equal(names, []string{"shop.example", "*.shop.example", "192.0.2.7"}) {
		t.Errorf("the names are %v", names)
	}
	path := filepath.Join(state, "self-signed", "team%2Fshop.pem")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	restarted := NewSelfSigned(vars, logr.Discard())
	for range 2 {
		if again := restarted.Of("team/shop", hosts); !bytes.Equal(again.Chain, first.Chain) || !bytes.Equal(again.Key, first.Key) {
			t.Error("another one was made")
		}
	}
	other := restarted.Of("team/shop", hosts[:1])
	if bytes.Equal(other.Chain, first.Chain) {
		t.Error("the certificate has names that the service has no more")
	}
	if err := os.WriteFile(path, []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	leafNames(t, NewSelfSigned(vars, logr.Discard()).Of("team/shop", hosts))
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

// TestSelfSignedWithoutAPlace stays the same for as long as the process runs.
func TestSelfSignedWithoutAPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, vars := range map[string]func(string) (string, bool){
		"no environment": nil,
		"no variables":   environment(nil),
		"no folder":      environment(map[string]string{"XDG_STATE_HOME": file}),
	} {
		s := NewSelfSigned(vars, logr.Discard())
		c := s.Of("a", nil)
		if names := leafNames(t, c); !slices.Equal(names, []string{"localhost", "127.0.0.1", "::1"}) {
			t.Errorf("%s: the names are %v", name, names)
		}
		if again := s.Of("a", nil); !bytes.Equal(again.Chain, c.Chain) {
			t.Errorf("%s: another one was made", name)
		}
	}
}

func TestStateFolder(t *testing.T) {
	for _, tt := range []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"STATE_DIRECTORY": "/var/lib/p", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/var/lib/p/self-signed"},
		{map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/pingora-proxy/self-signed"},
		{map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/pingora-proxy/self-signed"},
		{nil, ""},
	} {
		if s := NewSelfSigned(environment(tt.vars), logr.Discard()); s.folder != tt.want {
			t.Errorf("%v: %q, want %q", tt.vars, s.folder, tt.want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	write := func(c material.Certificate) {
		t.Helper()
		if os.WriteFile(cert, c.Chain, 0o600) != nil || os.WriteFile(key, c.Key, 0o600) != nil {
			t.Fatal("a file could not be written")
		}
	}
	files := Files{}
	if c := files.Pair(cert, key); c.Problem != cert+": there is no such file" || c.Name != cert {
		t.Errorf("%+v", c)
	}
	if files.Changed() {
		t.Error("changed without a change")
	}
	write(makeSelfSigned(nil))
	if !files.Changed() {
		t.Error("the files that are there now were not noticed")
	}
	files = Files{}
	if c := files.Pair(cert, key); c.Problem != "" {
		t.Error(c.Problem)
	}
	if err := os.WriteFile(key, makeSelfSigned(nil).Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if !files.Changed() {
		t.Error("the other key was not noticed")
	}
	if c := (Files{}).Pair(cert, key); c.Problem != cert+": tls: private key does not match public key" {
		t.Error(c.Problem)
	}
	if err := os.WriteFile(key, make([]byte, maxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := (Files{}).Pair(cert, key); c.Problem != key+": the file has more than 1048576 bytes" {
		t.Error(c.Problem)
	}
	if names := files.Names(); !slices.Equal(names, []string{cert, key}) {
		t.Errorf("the files are %v", names)
	}
}

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestConvert(t *testing.T) {
	t.Parallel()
	config := shopConfig("127.0.0.1:9", "/login")
	config = strings.Replace(config, "127.0.0.1:0", "127.0.0.1:8080", 1)
	file := configFile(t, config)
	objects := filepath.Join(t.TempDir(), "objects.yaml")
	r := harness.Run(t, nil, "convert", "--namespace", "n", "-o", objects, file)
	if r.Code != 0 || r.Stdout != "" || !strings.Contains(r.Stderr, "note: shop: a file answers /health") {
		t.Fatalf("%+v", r)
	}
	if info, err := os.Stat(objects); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	// What comes out is good, and is what went in.
	if r := harness.Run(t, nil, "--validate", "-c", objects); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	again := harness.Run(t, nil, "convert", objects)
	if again.Code != 0 || !strings.HasPrefix(again.Stdout, "services:\n  - name: shop\n    bind_address: '127.0.0.1:8080'\n") {
		t.Fatalf("%+v", again)
	}
	p := harness.Start(t, strings.Replace(config, "127.0.0.1:8080", "127.0.0.1:0", 1), harness.Options{})
	back := configFile(t, strings.Replace(again.Stdout, "127.0.0.1:8080", "127.0.0.1:0", 1))
	if r := harness.Run(t, nil, "diff", "-c", back, "--admin", "http://"+p.AdminAddr(t)); r.Code != 0 {
		t.Errorf("%+v", r)
	}

	if r := harness.Run(t, nil, "convert", "-o", file, file); r.Code != 1 || !strings.Contains(r.Stderr, "is the file that is read") {
		t.Errorf("%+v", r)
	}
	globals := configFile(t, "admin: {bind_address: 'off'}\n"+config)
	r = harness.Run(t, nil, "convert", globals)
	if r.Code != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, globals+":1:1: admin: has no place in an object") || !strings.Contains(r.Stderr, "--partial") {
		t.Errorf("%+v", r)
	}
	if r := harness.Run(t, nil, "convert", "--partial", globals); r.Code != 0 || !strings.HasPrefix(r.Stdout, "apiVersion: ") {
		t.Errorf("%+v", r)
	}
	for arguments, want := range map[string]struct {
		code   int
		stderr string
	}{
		"--to xml " + file: {2, "--to xml: must be cr or file"},
		"":                 {2, "Run 'pingora-proxy convert --help'"},
		"--bad " + file:    {2, "Run 'pingora-proxy convert --help'"},
		"/nowhere.yaml":    {1, "no such file"},
		configFile(t, "services: [{name: a, bind_adress: 'x'}]\n"): {1, "did you mean `bind_address`?"},
	} {
		if r := harness.Run(t, nil, append([]string{"convert"}, strings.Fields(arguments)...)...); r.Code != want.code || !strings.Contains(r.Stderr, want.stderr) {
			t.Errorf("%s: %+v, want %+v", arguments, r, want)
		}
	}
}

package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuiltModulesAreTakenFromTheCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("PATH", "") // no go command
	m := GoModule{Name: "proxy", Path: "example.com/proxy", Package: "cmd/proxy", Version: "v1.2.3"}
	if _, err := m.Find(t.Context()); err == nil || !strings.Contains(err.Error(), "building example.com/proxy@v1.2.3") {
		t.Errorf("without one: %v", err)
	}
	path := filepath.Join(cache, "pingora-proxy", "go", "proxy-v1.2.3", "proxy")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := m.Find(t.Context())
	if diff := cmp.Diff(Program{Name: "proxy", Path: path, Origin: "Go module"}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestModulesAreBuiltWithWhatTheyReplace has a module whose go.mod replaces another one, which go install refuses.
func TestModulesAreBuiltWithWhatTheyReplace(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/proxy\n\ngo 1.23\n\nrequire example.com/ext v0.0.0\n\nreplace example.com/ext => ./ext\n")
	write("go.sum", "")
	write("cmd/proxy/main.go", "package main\n\nimport \"example.com/ext\"\n\nfunc main() { println(ext.Name) }\n")
	write("ext/go.mod", "module example.com/ext\n\ngo 1.23\n")
	write("ext/ext.go", "package ext\n\nconst Name = \"stands in\"\n")
	m := GoModule{Name: "proxy", Path: "example.com/proxy", Package: "cmd/proxy", Version: "v1.2.3"}
	into := filepath.Join(t.TempDir(), "proxy")
	if err := m.buildFrom(t.Context(), dir, into); err != nil {
		t.Fatal(err)
	}
	if got, err := (Program{Path: into}).FirstLine(t.Context()); err != nil || got != "stands in" {
		t.Errorf("it prints %q, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	got := failures("go: downloading a v1\na: 403\n\tserver response: no\ngo: downloading b v1\nb: 404\n")
	if want := "a: 403\nserver response: no\nb: 404"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := failures(strings.Repeat("x\n", 10)), "x\nx\nx\nx\nand 6 lines more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

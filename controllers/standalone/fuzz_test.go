package standalone

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzLoad reads arbitrary bytes: they make a snapshot or problems with places inside the file, and never a panic or a
// long wait.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob(fixtures + "*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no fixtures", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		"", "a: &a [*a]\n", "? {a: b}\n: c\n", "<<: *a\n", "- - - -\n", "services: [{<<: [*a, *b]}]\n", "%YAML 1.1\n---\n- !!str\n",
		"services:\n  - &a {name: a}\n  - *a\n", "a: |\n  b\nc: >-\n  d\n", "kind: ProxyService\n---\nkind: null\n", "\"\\u0000\": 1\n",
		"services: !!seq [!!map {name: !!str a}]\n", "{a: {b: {c: }}}\n", "&a : *a\n", "*a : b\n", "&a &b c: d\n", "!!a !!b c: d\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		l, problems := LoadBytes("f", data, Options{})
		if (l == nil) == (len(problems) == 0) {
			t.Fatalf("loaded %v with %d problems", l != nil, len(problems))
		}
		for _, p := range problems {
			if p.Message == "" {
				t.Errorf("a problem says nothing: %+v", p)
			}
			if p.File == "f" && (p.Line < 1 || p.Column < 1) {
				t.Errorf("a problem has no place: %+v", p)
			}
		}
		if took := time.Since(start); took > 20*time.Second { // far beyond what a loaded machine explains
			t.Errorf("%d bytes took %v", len(data), took)
		}
	})
}

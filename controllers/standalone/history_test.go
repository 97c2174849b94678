package standalone

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// service is a file with one service of its own host.
func service(name string) string {
	return fmt.Sprintf("services:\n- name: %s\n  bind_address: 127.0.0.1:80\n  hosts: [%s.example]\n  upstreams: ['10.0.0.1:80']\n", name, name)
}

// folder writes files, which are old enough that a look at them tells whether they have changed.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, dir, name, text)
	}
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	write(t, filepath.Join(dir, name), text)
}

// load loads a folder with what is known of it.
func load(t *testing.T, h *history, dir string) (*Loaded, []string) {
	t.Helper()
	l, problems := newLoader(Options{Path: dir}, h).load(h.read(dir))
	return l, lines(problems)
}

// TestOneChangedFile: of many files the one that changed is parsed, the service in it translated, and the others are what
// they were.
func TestOneChangedFile(t *testing.T) {
	texts := map[string]string{"zz.yaml": "services:\n- {name: z, bind_address: '127.0.0.1:80', hosts: [z.example], upstreams: ['10.0.0.1:80']}\n"}
	for i := range 50 {
		texts[fmt.Sprintf("f%d.yaml", i)] = service(fmt.Sprint("s", i))
	}
	dir, h := folder(t, texts), &history{}
	first, _ := load(t, h, dir)
	if first == nil || h.parsed != 51 {
		t.Fatalf("%v, %d files were parsed", first, h.parsed)
	}
	put(t, dir, "f7.yaml", strings.Replace(service("s7"), "10.0.0.1", "10.0.0.2", 1))
	second, _ := load(t, h, dir)
	if h.parsed != 1 || h.translation.Reused() != 50 {
		t.Errorf("%d files were parsed, %d services were as before; want 1 and 50", h.parsed, h.translation.Reused())
	}
	same := 0
	for i, c := range second.Snapshot.Clusters {
		if first.Snapshot.Clusters[i] == c {
			same++
		}
	}
	if same != 50 {
		t.Errorf("%d of 51 clusters are the same", same)
	}
	whole, _ := Load(Options{Path: dir})
	if !reflect.DeepEqual(whole.Snapshot, second.Snapshot) {
		t.Error("it is not what the files say")
	}
	// The same text in another file is another file's, with places of its own.
	if err := os.Remove(filepath.Join(dir, "f7.yaml")); err != nil {
		t.Fatal(err)
	}
	if third, _ := load(t, h, dir); third == nil || h.parsed != 0 || len(third.Services) != 50 {
		t.Errorf("%d files were parsed", h.parsed)
	}
}

// TestPlacesOfUnchangedFiles: what is wrong is said with its line and column, also where it is a file of which nothing but
// its services was kept.
func TestPlacesOfUnchangedFiles(t *testing.T) {
	dir, h := folder(t, map[string]string{
		"a.yaml": "# one\n" + service("one"), "b.yaml": service("two"), "c.yaml": "---\n---\n" + service("three"),
	}), &history{}
	if l, problems := load(t, h, dir); l == nil {
		t.Fatal(problems)
	}
	put(t, dir, "b.yaml", service("one"))
	at := func(file string) string { return filepath.Join(dir, file) }
	for range 2 { // and again, of what is known by now
		l, problems := load(t, h, dir)
		want := []string{at("b.yaml") + ":2:3: services[0].name: duplicate service name `one`; the first is at " + at("a.yaml") + ":3:3"}
		if diff := cmp.Diff(want, problems); l != nil || diff != "" {
			t.Error(diff)
		}
	}
	put(t, dir, "b.yaml", strings.Replace(service("two"), "two.example", "three.example", 1))
	l, problems := load(t, h, dir)
	if l != nil || len(problems) != 1 || !strings.HasPrefix(problems[0], at("c.yaml")+":6:3: services[0].hosts: takes the same requests") ||
		!strings.HasSuffix(problems[0], "("+at("b.yaml")+":2:3)") {
		t.Errorf("%q", problems)
	}
	put(t, dir, "b.yaml", service("two"))
	if l, problems := load(t, h, dir); l == nil || h.parsed != 1 {
		t.Errorf("%d files were parsed: %q", h.parsed, problems)
	}
}

// TestGlobalsInOneOfManyFiles: a file of globals and others of services make one configuration, however often it is loaded.
func TestGlobalsInOneOfManyFiles(t *testing.T) {
	dir, h := folder(t, map[string]string{"a.yaml": service("one"), "g.yaml": "limits: {worker_threads: 3}\nadmin: {pprof: true}\n"}), &history{}
	for range 3 {
		l, problems := load(t, h, dir)
		if l == nil || *l.Globals.Limits.WorkerThreads != 3 || !*l.Globals.Admin.Pprof || l.Setting("admin.pprof").Where != filepath.Join(dir, "g.yaml")+":2:9" {
			t.Fatalf("%+v, %q", l, problems)
		}
	}
	put(t, dir, "b.yaml", "admin: {pprof: false}\n")
	if l, problems := load(t, h, dir); l != nil || len(problems) != 1 || !strings.Contains(problems[0], "is set at "+filepath.Join(dir, "b.yaml")+":1:1 already") {
		t.Errorf("%q", problems)
	}
}

// TestFilesThatChangeAtOnce: a file is read again that has changed within the tick of the clock, and keeps its size.
func TestFilesThatChangeAtOnce(t *testing.T) {
	dir, h := folder(t, map[string]string{"a.yaml": service("one")}), &history{}
	for n := range 300 {
		name := fmt.Sprint("s", n%10)
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(service(name)), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, problems := load(t, h, dir); l == nil || l.Services[0].Name != name {
			t.Fatalf("%q was not seen: %q", name, problems)
		}
	}
}

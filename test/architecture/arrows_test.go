package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A goPackage is what `go list` says of one package.
type goPackage struct {
	Name         string
	ImportPath   string
	Dir          string
	Standard     bool
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// name is the path inside this module, "" for a package of another one.
func (p *goPackage) name() string {
	inner, ok := strings.CutPrefix(p.ImportPath, module+"/")
	if !ok {
		return ""
	}
	return inner
}

// world is every package that the module needs, by import path.
type world map[string]*goPackage

// own lists the packages of this module, in order.
func (w world) own() []*goPackage {
	var own []*goPackage
	for _, p := range w {
		if p.name() != "" {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *goPackage) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return own
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	directory, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
			return directory
		}
		parent := filepath.Dir(directory)
		if parent == directory {
			t.Fatal("no go.mod above the directory of this test")
		}
		directory = parent
	}
}

// list asks the go command once for all tests of this package.
var list = sync.OnceValues(func() (world, error) {
	// What another program reads does not count when Go decides whether a cached result still holds; what this one opens
	// does. So every directory is opened here, and every Go file by the tests below.
	for _, top := range []string{"api", "cmd", "controllers", "dataplane", "hack", "test"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(string, fs.DirEntry, error) error { return nil })
		if err != nil {
			return nil, err
		}
	}
	command := exec.Command("go", "list", "-deps", "-e",
		"-json=Name,ImportPath,Dir,Standard,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	command.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	w := world{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(goPackage)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			return w, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		w[p.ImportPath] = p
	}
})

func load(t *testing.T) world {
	t.Helper()
	w, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if len(w.own()) < 2 {
		t.Fatalf("go list shows %d packages of %s: the test looks at the wrong place", len(w.own()), module)
	}
	return w
}

// wrongArrows lists the imports that the table does not allow.
func wrongArrows(w world) []string {
	var wrong []string
	for _, p := range w.own() {
		name := p.name()
		if free(name) {
			continue
		}
		r, ok := rowOf(name)
		if !ok {
			wrong = append(wrong, name+" has no row in the table: decide what it may import")
			continue
		}
		for _, imported := range p.Imports {
			if q := w[imported]; q != nil && q.Standard || imported == "C" {
				continue
			}
			if !r.allows(imported) {
				wrong = append(wrong, name+" may not import "+imported)
			}
		}
	}
	return wrong
}

func TestArrows(t *testing.T) {
	for _, wrong := range wrongArrows(load(t)) {
		t.Error(wrong)
	}
}

// forbidden reports whether the data plane must not reach an import path.
func forbidden(importPath string) bool {
	for _, root := range []string{"k8s.io", "sigs.k8s.io", module + "/api", module + "/controllers", module + "/cmd"} {
		if importPath == root || below(importPath, root) {
			return true
		}
	}
	return false
}

// chain is a shortest way of imports from a package to a forbidden one, nil where there is none.
func chain(w world, from string) []string {
	type step struct {
		path     string
		previous *step
	}
	seen := map[string]bool{from: true}
	for queue := []*step{{path: from}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if forbidden(at.path) {
			var way []string
			for s := at; s != nil; s = s.previous {
				way = append(way, s.path)
			}
			slices.Reverse(way)
			return way
		}
		p := w[at.path]
		if p == nil {
			continue
		}
		for _, imported := range p.Imports {
			if !seen[imported] {
				seen[imported] = true
				queue = append(queue, &step{imported, at})
			}
		}
	}
	return nil
}

func TestDataplaneReachesNoKubernetes(t *testing.T) {
	w := load(t)
	checked := 0
	for _, p := range w.own() {
		name := p.name()
		if name != "dataplane" && !below(name, "dataplane") {
			continue
		}
		checked++
		if way := chain(w, p.ImportPath); way != nil {
			t.Errorf("the data plane reaches what it must not know: %s", strings.Join(way, " -> "))
		}
		// Its tests neither, not even directly: a case that needs the user's schema belongs to test/integration.
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if forbidden(imported) {
				t.Errorf("a test of %s imports %s", name, imported)
			}
		}
	}
	if checked == 0 {
		t.Fatal("there is no package dataplane")
	}
}

func TestTableHasNoCycle(t *testing.T) {
	// Between different packages, as the table allows them: an arrow pair that Go would refuse is a mistake of the map.
	var visit func(name string, trail []string)
	visit = func(name string, trail []string) {
		if slices.Contains(trail, name) {
			t.Errorf("cycle: %s", strings.Join(append(trail, name), " -> "))
			return
		}
		for _, next := range table[name].imports {
			if next == "dataplane/*" {
				continue
			}
			visit(next, append(slices.Clone(trail), name))
		}
	}
	for name := range table {
		visit(name, nil)
	}
}

var update = flag.Bool("update", false, "write the rules of .golangci.yml from the table")

// The rules of the table stand between these lines of .golangci.yml.
const (
	rulesBegin = "        # Written by: go test ./test/architecture -run TestLinterSaysTheSame -update\n"
	rulesEnd   = "        # end of what is written\n"
)

// rules are the linter's rules for the table.
func rules() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(table)) {
		r := table[name]
		files := `"**/` + name + `/*.go"`
		if outer, ok := strings.CutSuffix(name, "*"); ok { // but those with a row of their own
			for _, own := range slices.Sorted(maps.Keys(table)) {
				if inner, ok := strings.CutPrefix(own, outer); ok && inner != "*" {
					files += `, "!**/` + own + `/*.go"`
				}
			}
		}
		fmt.Fprintf(&b, "        %s:\n          list-mode: strict\n          files: [%s, \"!$test\"]\n          allow:\n            - $gostd\n", name, files)
		var whole []string // folders; the linter would not find them behind one of their packages
		for _, p := range r.imports {
			if inner, ok := strings.CutSuffix(p, "*"); ok {
				whole = append(whole, inner)
				fmt.Fprintf(&b, "            - %s/%s\n", module, inner)
			}
		}
		for _, p := range r.imports {
			if !strings.HasSuffix(p, "*") && !slices.ContainsFunc(whole, func(outer string) bool { return strings.HasPrefix(p, outer) }) {
				fmt.Fprintf(&b, "            - %s/%s$\n", module, p)
			}
		}
		for _, p := range r.libraries {
			fmt.Fprintf(&b, "            - %s\n", p)
		}
	}
	return b.String()
}

func TestLinterSaysTheSame(t *testing.T) {
	name := filepath.Join(root(t), ".golangci.yml")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begun := strings.Cut(string(text), rulesBegin)
	written, tail, ended := strings.Cut(rest, rulesEnd)
	if !begun || !ended {
		t.Fatalf(".golangci.yml: the lines %q and %q are missing", rulesBegin, rulesEnd)
	}
	if *update {
		if err := os.WriteFile(name, []byte(head+rulesBegin+rules()+rulesEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(rules(), written); diff != "" {
		t.Errorf(".golangci.yml says otherwise (-table +linter); run this test with -update:\n%s", diff)
	}
	if strings.Contains(head+tail, "list-mode: strict") {
		t.Error(".golangci.yml: a strict rule stands outside of what is written from the table")
	}
}

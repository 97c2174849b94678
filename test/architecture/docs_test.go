package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// reasons are the constants of type exchange.Reason.
func reasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "dataplane/exchange/record.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		for _, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

// Whoever reads a reason in a log looks it up.
func TestEveryReasonIsExplained(t *testing.T) {
	all := reasons(t)
	if len(all) < 20 {
		t.Fatalf("only %d reasons found in the source: the test looks at the wrong place", len(all))
	}
	text := document(t, "docs/troubleshooting.md")
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]+ \\|")
	explained := map[string]bool{}
	for _, m := range rows.FindAllStringSubmatch(text, -1) {
		explained[m[1]] = true
	}
	for _, reason := range all {
		if !explained[reason] {
			t.Errorf("docs/troubleshooting.md has no row for the reason %q", reason)
		}
		delete(explained, reason)
	}
	for reason := range explained {
		t.Errorf("docs/troubleshooting.md explains %q, which no source has", reason)
	}
}

// The table for people has a row for every package that exists.
func TestEveryPackageIsOnTheMap(t *testing.T) {
	text := document(t, "docs/architecture.md")
	for _, p := range load(t).own() {
		name := p.name()
		switch {
		case name == "api/v1alpha1/gen", strings.HasPrefix(name, "test/"), strings.HasPrefix(name, "hack/"):
			continue
		case below(name, "dataplane/filter"):
			name = "dataplane/filter/<name>"
		}
		if !strings.Contains(text, "\n| `"+name+"` |") {
			t.Errorf("docs/architecture.md has no row for %s", name)
		}
	}
}

// A link between documents leads somewhere.
func TestLinksOfDocuments(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, name := range []string{
		"README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/operations.md", "docs/troubleshooting.md", "docs/migrating.md",
	} {
		for _, m := range link.FindAllStringSubmatch(document(t, name), -1) {
			if _, err := os.Stat(filepath.Join(root(t), filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

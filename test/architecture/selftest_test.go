package architecture

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// made builds a world of packages of this module and of others; imports are relative where they begin with "./".
func made(imports map[string][]string) world {
	full := func(p string) string {
		if len(p) > 2 && p[:2] == "./" {
			return module + "/" + p[2:]
		}
		return p
	}
	w := world{}
	for from, to := range imports {
		p := &goPackage{ImportPath: full(from), Standard: from == "fmt"}
		for _, q := range to {
			p.Imports = append(p.Imports, full(q))
		}
		w[p.ImportPath] = p
	}
	return w
}

func TestWrongArrowsAreSeen(t *testing.T) {
	for _, c := range []struct {
		name    string
		imports map[string][]string
		want    []string
	}{
		{"standard library", map[string][]string{"./dataplane/exchange": {"fmt"}, "fmt": nil}, nil},
		{"leaf", map[string][]string{"./dataplane/exchange": {"./dataplane/filter"}}, []string{
			"dataplane/exchange may not import " + module + "/dataplane/filter",
		}},
		{"snapshot and a single filter", map[string][]string{"./dataplane/snapshot": {"./dataplane/filter", "./dataplane/filter/rewrite"}}, []string{
			"dataplane/snapshot may not import " + module + "/dataplane/filter/rewrite",
		}},
		{"filters and a single filter", map[string][]string{"./controllers/translate/filters": {"./dataplane/filter/rewrite"}}, nil},
		{"translate and a single filter", map[string][]string{"./controllers/translate": {"./dataplane/filter", "./dataplane/filter/rewrite"}}, []string{
			"controllers/translate may not import " + module + "/dataplane/filter/rewrite",
		}},
		{"a filter of its own", map[string][]string{"./dataplane/filter/rewrite": {"./dataplane/filter", "./dataplane/router"}}, []string{
			"dataplane/filter/rewrite may not import " + module + "/dataplane/router",
		}},
		{"library in its place", map[string][]string{"./controllers/standalone": {"github.com/goccy/go-yaml/ast"}}, nil},
		{"library elsewhere", map[string][]string{"./dataplane/router": {"github.com/goccy/go-yaml/ast"}}, []string{
			"dataplane/router may not import github.com/goccy/go-yaml/ast",
		}},
		{"library with the same beginning", map[string][]string{"./dataplane/router": {"github.com/go-logr/logrus"}}, []string{
			"dataplane/router may not import github.com/go-logr/logrus",
		}},
		{"wiring", map[string][]string{"./cmd/pingora-proxy": {"./dataplane/http1", "github.com/spf13/cobra"}}, nil},
		{"new package", map[string][]string{"./dataplane/cache": nil}, []string{
			"dataplane/cache has no row in the table: decide what it may import",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, wrongArrows(made(c.imports))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestChainIsSeen(t *testing.T) {
	for _, c := range []struct {
		name    string
		imports map[string][]string
		want    []string
	}{
		{"none", map[string][]string{"./dataplane": {"./dataplane/exchange", "fmt"}, "./dataplane/exchange": {"fmt"}}, nil},
		{"through a library", map[string][]string{"./dataplane": {"example.com/a"}, "example.com/a": {"k8s.io/apimachinery/pkg/types"}}, []string{
			module + "/dataplane", "example.com/a", "k8s.io/apimachinery/pkg/types",
		}},
		{"the schema", map[string][]string{"./dataplane": {"./dataplane/filter"}, "./dataplane/filter": {"./api/v1alpha1"}}, []string{
			module + "/dataplane", module + "/dataplane/filter", module + "/api/v1alpha1",
		}},
		{"a cycle ends", map[string][]string{"./dataplane": {"./dataplane/a"}, "./dataplane/a": {"./dataplane"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, chain(made(c.imports), module+"/dataplane")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

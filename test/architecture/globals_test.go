package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// guarded are types whose package-level variable is shared mutable state, or guards some. sync.Pool is not among them:
// what lies in a pool belongs to nobody, so it may be shared.
var guarded = []string{
	"sync.Map", "sync.Mutex", "sync.RWMutex", "sync.Once", "sync.WaitGroup", "sync.Cond",
	"atomic.Bool", "atomic.Int32", "atomic.Int64", "atomic.Uint32", "atomic.Uint64", "atomic.Pointer", "atomic.Value",
}

// hidden lists what a file does behind its callers' back: init functions, and package variables made to be filled or
// changed while the program runs.
func hidden(name string, text []byte) ([]string, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	report := func(at ast.Node, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: ", set.Position(at.Pos()))+fmt.Sprintf(format, args...))
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				report(d, "func init: let the caller call it by name")
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, ident := range v.Names {
					var value ast.Expr
					if i < len(v.Values) {
						value = v.Values[i]
					}
					if why := mutable(v.Type, value); why != "" && ident.Name != "_" {
						report(ident, "variable %s is %s: give it to whom it concerns", ident.Name, why)
					}
				}
			}
		}
	}
	return found, nil
}

// mutable says why a package variable is shared mutable state, "" when it is a table or a constant in disguise.
func mutable(kind, value ast.Expr) string {
	switch v := value.(type) {
	case *ast.CompositeLit:
		if kind == nil {
			kind = v.Type
		}
		if _, isMap := kind.(*ast.MapType); isMap && len(v.Elts) == 0 {
			return "a map that starts empty"
		}
		if _, isMap := kind.(*ast.MapType); isMap {
			return ""
		}
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "make" && len(v.Args) > 0 {
			switch v.Args[0].(type) {
			case *ast.MapType:
				return "a map that starts empty"
			case *ast.ChanType:
				return "a channel"
			}
		}
		if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "new" && len(v.Args) == 1 {
			kind = v.Args[0]
		}
	case *ast.UnaryExpr:
		if l, ok := v.X.(*ast.CompositeLit); ok && kind == nil {
			kind = l.Type
		}
	}
	switch k := kind.(type) {
	case *ast.MapType:
		if value == nil {
			return "a map that starts empty"
		}
	case *ast.ChanType:
		return "a channel"
	case *ast.IndexExpr: // atomic.Pointer[T]
		return mutable(k.X, nil)
	case *ast.SelectorExpr:
		if x, ok := k.X.(*ast.Ident); ok {
			if full := x.Name + "." + k.Sel.Name; slices.Contains(guarded, full) {
				return "a " + full
			}
		}
	}
	return ""
}

func TestNothingHidden(t *testing.T) {
	for _, p := range load(t).own() {
		for _, file := range sources(t, p) {
			if file.test || generated.Match(file.text) {
				continue
			}
			found, err := hidden(p.name()+"/"+file.name, file.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		}
	}
}

func TestHiddenIsSeen(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       []string
	}{
		{"init", "func init() {}", []string{"a.go:3:1: func init: let the caller call it by name"}},
		{"method init", "type t struct{}\nfunc (t) init() {}", nil},
		{"table", `var names = map[string]int{"a": 1}`, nil},
		{"typed table", `var names map[string]int = map[string]int{"a": 1}`, nil},
		{"registry", "var filters = map[string]int{}", []string{"a.go:3:5: variable filters is a map that starts empty: give it to whom it concerns"}},
		{"made", "var filters = make(map[string]int)", []string{"a.go:3:5: variable filters is a map that starts empty: give it to whom it concerns"}},
		{"nil map", "var (\n\ta, b map[int]int\n)", []string{
			"a.go:4:2: variable a is a map that starts empty: give it to whom it concerns",
			"a.go:4:5: variable b is a map that starts empty: give it to whom it concerns",
		}},
		{"lock", "var mu sync.Mutex", []string{"a.go:3:5: variable mu is a sync.Mutex: give it to whom it concerns"}},
		{"pointer to a lock", "var mu = &sync.RWMutex{}", []string{"a.go:3:5: variable mu is a sync.RWMutex: give it to whom it concerns"}},
		{"new", "var m = new(sync.Map)", []string{"a.go:3:5: variable m is a sync.Map: give it to whom it concerns"}},
		{"atomic", "var current atomic.Pointer[int]", []string{"a.go:3:5: variable current is a atomic.Pointer: give it to whom it concerns"}},
		{"channel", "var done = make(chan int)", []string{"a.go:3:5: variable done is a channel: give it to whom it concerns"}},
		{"pool", "var buffers = sync.Pool{}", nil},
		{"error", `var errGone = errors.New("gone")`, nil},
		{"assertion", "var _ sync.Mutex", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := hidden("a.go", []byte("package a\n\n"+c.code+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

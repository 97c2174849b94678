package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

// model is what the Go source says of the schema.
type model struct {
	structs map[string]*structType
	enums   map[string]enumType
	order   []string // names of structs and enums as they stand in the source

	defaults map[string]any // by Struct.field
}

type structType struct {
	name, doc string
	fields    []*fieldType
	oneOf     bool // a rule says that exactly one of some fields is set
}

type enumType struct {
	doc    string
	base   string // string or int32
	values []string
}

type fieldType struct {
	owner         string // the struct it stands in
	goName, json  string
	doc           string
	typ           typeRef
	inline        bool
	required      bool
	example       string
	limits        limits
	items         limits
	maxItems      int
	maxProperties int
}

// file is the field's key in a standalone file.
func (f *fieldType) file() string { return syntax.FileKey(f.json) }

type limits struct {
	min, max  *int64
	maxLength int
}

// typeRef is a name with what stands before it.
type typeRef struct {
	list, dict bool
	name       string // string, int32, bool, or a type of the package
}

// parse reads the source of the types in dir and of those of the process beside it, leaving out what is generated.
func parse(dir string) (*model, error) {
	m := &model{structs: map[string]*structType{}, enums: map[string]enumType{}, defaults: defaultValues()}
	for _, one := range []string{filepath.Join(dir, "../settings"), dir} { // the reference begins with the process
		if err := m.parse(one); err != nil {
			return nil, err
		}
	}
	m.keep("Config")
	return m, nil
}

func (m *model) parse(dir string) error {
	fset := token.NewFileSet()
	packages, err := parser.ParseDir(fset, dir, func(i fs.FileInfo) bool { //nolint:staticcheck // no build tags here
		return !strings.HasSuffix(i.Name(), "_test.go") && !strings.HasPrefix(i.Name(), "zz_generated")
	}, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, p := range packages {
		for _, name := range sortedKeys(p.Files) {
			for _, decl := range p.Files[name].Decls {
				if err := m.declaration(decl); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	return nil
}

// keep drops every type that a configuration cannot hold, such as those of an object's status.
func (m *model) keep(root string) {
	reached := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if reached[name] {
			return
		}
		reached[name] = true
		if s := m.structs[name]; s != nil {
			for _, f := range s.fields {
				visit(f.typ.name)
			}
		}
	}
	visit(root)
	m.order = slices.DeleteFunc(m.order, func(name string) bool { return !reached[name] })
	maps.DeleteFunc(m.structs, func(name string, _ *structType) bool { return !reached[name] })
	maps.DeleteFunc(m.enums, func(name string, _ enumType) bool { return !reached[name] })
}

func (m *model) declaration(decl ast.Decl) error {
	g, ok := decl.(*ast.GenDecl)
	if !ok || g.Tok != token.TYPE {
		return nil
	}
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok || !t.Name.IsExported() {
			continue
		}
		comment := t.Doc
		if comment == nil {
			comment = g.Doc
		}
		doc, marks := split(comment)
		switch node := t.Type.(type) {
		case *ast.StructType:
			if slices.ContainsFunc(marks, func(mk marker) bool { return mk.key == "kubebuilder:object:root" }) {
				continue // an object around the schema; its spec is what counts here
			}
			s := &structType{name: t.Name.Name, doc: doc}
			for _, mk := range marks {
				var err error
				switch mk.key {
				case "kubebuilder:validation:XValidation:rule":
					s.oneOf = s.oneOf || strings.Contains(mk.value, "exactly one filter ")
				default:
					err = fmt.Errorf("%s: unknown marker +%s", s.name, mk.key)
				}
				if err != nil {
					return err
				}
			}
			for _, f := range node.Fields.List {
				ft, err := parseField(f)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				ft.owner = s.name
				s.fields = append(s.fields, ft)
			}
			m.structs[s.name] = s
			m.order = append(m.order, s.name)
		case *ast.Ident:
			for _, mk := range marks {
				if mk.key == "kubebuilder:validation:Enum" {
					m.enums[t.Name.Name] = enumType{doc: doc, base: node.Name, values: strings.Split(strings.ReplaceAll(mk.value, `"`, ""), ";")}
					m.order = append(m.order, t.Name.Name)
				}
			}
		}
	}
	return nil
}

func parseField(f *ast.Field) (*fieldType, error) {
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return nil, err
	}
	name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	doc, marks := split(f.Doc)
	out := &fieldType{json: name, doc: doc, inline: options == "inline"}
	if len(f.Names) > 0 {
		out.goName = f.Names[0].Name
	}
	if out.typ, err = reference(f.Type); err != nil {
		return nil, err
	}
	if out.inline {
		return out, nil
	}
	if doc == "" {
		return nil, fmt.Errorf("field %s has no comment", out.goName)
	}
	for _, mk := range marks {
		if err := out.mark(mk); err != nil {
			return nil, fmt.Errorf("field %s: %w", out.goName, err)
		}
	}
	return out, nil
}

func (f *fieldType) mark(mk marker) (err error) {
	into, key := &f.limits, strings.TrimPrefix(mk.key, "kubebuilder:validation:")
	if rest, ok := strings.CutPrefix(key, "items:"); ok {
		into, key = &f.items, rest
	}
	switch key {
	case "required":
		f.required = true
	case "optional", "listType", "listMapKey", "XIntOrString", "XValidation:rule", "MinLength": // Validate has these
	case "kubebuilder:example":
		f.example = mk.value
	case "Minimum":
		into.min, err = number(mk.value)
	case "Maximum":
		into.max, err = number(mk.value)
	case "MaxLength":
		into.maxLength, err = strconv.Atoi(mk.value)
	case "MaxItems":
		f.maxItems, err = strconv.Atoi(mk.value)
	case "MaxProperties":
		f.maxProperties, err = strconv.Atoi(mk.value)
	default:
		err = fmt.Errorf("unknown marker +%s", mk.key)
	}
	return err
}

func number(s string) (*int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	return &n, err
}

func reference(e ast.Expr) (typeRef, error) {
	switch n := e.(type) {
	case *ast.Ident:
		return typeRef{name: n.Name}, nil
	case *ast.SelectorExpr: // of apimachinery
		return typeRef{name: n.Sel.Name}, nil
	case *ast.StarExpr:
		return reference(n.X)
	case *ast.ArrayType:
		r, err := reference(n.Elt)
		r.list = true
		return r, err
	case *ast.MapType:
		r, err := reference(n.Value)
		r.dict = true
		return r, err
	}
	return typeRef{}, fmt.Errorf("a field has the type %T, which the schema does not know", e)
}

type marker struct{ key, value string }

// split parts a comment into its text, with lines joined, and its markers.
func split(g *ast.CommentGroup) (string, []marker) {
	if g == nil {
		return "", nil
	}
	var text []string
	var marks []marker
	for _, c := range g.List {
		line := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
		if rest, ok := strings.CutPrefix(line, "+"); ok {
			key, value, _ := strings.Cut(rest, "=")
			marks = append(marks, marker{key, value})
		} else if line != "" {
			text = append(text, line)
		}
	}
	return strings.Join(text, " "), marks
}

// fieldsOf lists a type's fields with those of the structs it takes in.
func (m *model) fieldsOf(name string) []*fieldType {
	var out []*fieldType
	for _, f := range m.structs[name].fields {
		if f.inline {
			out = append(out, m.fieldsOf(f.typ.name)...)
		} else {
			out = append(out, f)
		}
	}
	return out
}

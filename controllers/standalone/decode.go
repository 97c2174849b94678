package standalone

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
)

// place is a position in a file. Lines and columns count from 1.
type place struct{ line, column int }

func placeOf(t *token.Token) place { return placed(tree.PlaceOf(t)) }

func placed(p tree.Place) place { return place{p.Line, p.Column} }

// A fault is a problem within one file.
type fault struct {
	at      place
	path    string
	message string
}

// A decoder fills the types of the schema from one document and remembers where everything stood.
type decoder struct {
	shapes  *shape.Shapes
	camel   bool // an object: only the spelling of the API
	anchors map[string][]*ast.AnchorNode
	nodes   int
	places  map[string]place // of fields, list items and map entries, by their paths in the API's spelling
	faults  []fault

	// What is wrong elsewhere already: values that could not be read, fields that a misspelt one was probably meant to be,
	// and objects with unknown fields. That something is missing there is no news.
	unread  map[string]bool
	meant   map[string]bool
	spoiled map[string]bool
}

func newDecoder(s *shape.Shapes, body ast.Node) *decoder {
	d := &decoder{
		shapes: s, anchors: map[string][]*ast.AnchorNode{}, places: map[string]place{},
		unread: map[string]bool{}, meant: map[string]bool{}, spoiled: map[string]bool{},
	}
	if body != nil {
		ast.Walk(d, body)
	}
	return d
}

// Visit collects anchors. It implements ast.Visitor.
func (d *decoder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		name := a.Name.GetToken().Value
		d.anchors[name] = append(d.anchors[name], a)
	}
	return d
}

func (d *decoder) fail(at place, path, format string, args ...any) {
	d.unread[path] = true
	d.failAs(at, d.show(path), fmt.Sprintf(format, args...))
}

// failAs reports a path as it is spelt.
func (d *decoder) failAs(at place, shown, message string) {
	if len(d.faults) < tree.MaxProblems {
		d.faults = append(d.faults, fault{at: at, path: shown, message: message})
	}
}

// show spells a path of the API as the document does.
func (d *decoder) show(path string) string {
	if d.camel {
		return path
	}
	return shape.FilePath(path)
}

// resolve follows aliases and anchors to a value. It is nil where there is none.
func (d *decoder) resolve(n ast.Node, at place, path string) ast.Node {
	for range tree.MaxDepth {
		d.nodes++
		if d.nodes > tree.MaxNodes {
			if d.nodes == tree.MaxNodes+1 {
				d.fail(at, path, "aliases make the document too large")
			}
			return nil
		}
		switch x := n.(type) {
		case nil, *ast.NullNode:
			return nil
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			name := x.Value.GetToken().Value
			target := d.anchor(name, x.Start)
			if target == nil {
				d.fail(placeOf(x.Start), path, "there is no anchor `&%s` before this", name)
				return nil
			}
			n = target
		default:
			return n
		}
	}
	d.fail(at, path, "an alias leads back to itself")
	return nil
}

// anchor is the last one of the name before an alias.
func (d *decoder) anchor(name string, alias *token.Token) ast.Node {
	var found ast.Node
	for _, a := range d.anchors[name] {
		if a.Start.Position.Offset < alias.Position.Offset {
			found = a.Value
		}
	}
	return found
}

type entry struct {
	key   string
	at    place
	value ast.Node
}

// entries lists a mapping's entries, those that it merges after its own. Duplicates are reported and left out.
func (d *decoder) entries(n ast.Node, path string) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch x := n.(type) {
	case *ast.MappingNode:
		values = x.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{x}
	default:
		return nil, false
	}
	var out []entry
	var merged []ast.Node
	seen := map[string]place{}
	for _, v := range values {
		at := placeOf(v.Key.GetToken())
		if v.Key.IsMergeKey() {
			merged = append(merged, v.Value)
			continue
		}
		key := v.Key.GetToken().Value
		if s, ok := v.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		if first, again := seen[key]; again {
			d.failAs(at, join(d.show(path), key), fmt.Sprintf("duplicate key; the first is at %d:%d", first.line, first.column))
			continue
		}
		seen[key] = at
		out = append(out, entry{key, at, v.Value})
	}
	for _, m := range merged {
		out = d.merge(out, seen, m, path)
	}
	return out, true
}

// merge adds the entries of a `<<` key, which never replace others.
func (d *decoder) merge(out []entry, seen map[string]place, m ast.Node, path string) []entry {
	at := placeOf(m.GetToken())
	value := d.resolve(m, at, path)
	list := []ast.Node{value}
	if s, ok := value.(*ast.SequenceNode); ok {
		list = s.Values
	}
	for _, n := range list {
		if d.nodes++; d.nodes > tree.MaxNodes {
			return out
		}
		n = d.resolve(n, at, path)
		var values []*ast.MappingValueNode
		switch x := n.(type) {
		case *ast.MappingNode:
			values = x.Values
		case *ast.MappingValueNode:
			values = []*ast.MappingValueNode{x}
		default:
			d.fail(at, path, "`<<` takes an alias of a mapping")
			continue
		}
		for _, v := range values {
			d.nodes++
			key := v.Key.GetToken().Value
			if _, own := seen[key]; own || v.Key.IsMergeKey() {
				continue
			}
			seen[key] = at
			out = append(out, entry{key, at, v.Value})
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// object decodes a mapping into a struct.
func (d *decoder) object(n ast.Node, at place, v reflect.Value, path string) {
	if n = d.resolve(n, at, path); n == nil {
		return
	}
	entries, ok := d.entries(n, path)
	if !ok {
		d.fail(at, path, "must be an object, with `key: value` lines")
		return
	}
	d.fill(entries, v, path)
}

func (d *decoder) fill(entries []entry, v reflect.Value, path string) {
	s := d.shapes.Of(v.Type())
	set := map[int]entry{}
	for _, e := range entries {
		i, known := s.ByName[e.key]
		if known && d.camel && s.Fields[i].JSON != e.key {
			known = false
		}
		if !known {
			d.unknown(e, s, path)
			continue
		}
		if first, again := set[i]; again {
			d.failAs(e.at, join(d.show(path), e.key), fmt.Sprintf("is another spelling of `%s`, which is set at %d:%d; keep one of them",
				first.key, first.at.line, first.at.column))
			continue
		}
		set[i] = e
		f := s.Fields[i]
		at := join(path, f.JSON)
		d.places[at] = e.at
		d.value(e.value, e.at, v.FieldByIndex(f.Index), at)
	}
}

func (d *decoder) unknown(e entry, s *shape.Shape, path string) {
	message := "unknown field"
	if d.camel {
		message = fmt.Sprintf("unknown field %q", join(path, syntax.Shown(e.key)))
	}
	d.spoiled[path] = true
	if near := syntax.Nearest(e.key, s.Names(d.camel)); near != "" {
		message += "; did you mean `" + near + "`?"
		d.meant[join(path, s.Fields[s.ByName[near]].JSON)] = true
	}
	d.failAs(e.at, join(d.show(path), syntax.Shown(e.key)), message)
}

// value decodes a node into whatever the schema has at its place. What is null stays unset.
func (d *decoder) value(n ast.Node, at place, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if d.resolve(n, at, path) == nil {
			if guards(v.Type().Elem()) {
				d.fail(at, path, "must not be empty: leave it out if everybody may come")
			}
			return
		}
		into := reflect.New(v.Type().Elem())
		d.value(n, at, into.Elem(), path)
		if !d.unread[path] {
			v.Set(into)
		}
	case reflect.Struct:
		if into, ok := v.Addr().Interface().(*intstr.IntOrString); ok {
			d.intOrString(n, at, into, path)
			return
		}
		d.object(n, at, v, path)
	case reflect.Slice:
		d.list(n, at, v, path)
	case reflect.Map:
		d.dict(n, at, v, path)
	default:
		d.scalar(d.resolve(n, at, path), at, v, path)
	}
}

// guards reports whether a setting keeps somebody out: one whose lines somebody has lost must not let everybody in.
func guards(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[v1alpha1.Auth](), reflect.TypeFor[v1alpha1.Access](), reflect.TypeFor[v1alpha1.ClientAuth]():
		return true
	}
	return false
}

func (d *decoder) list(n ast.Node, at place, v reflect.Value, path string) {
	if n = d.resolve(n, at, path); n == nil {
		return
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(at, path, "must be a list, with a `- ` before each item")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, item := range s.Values {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		itemAt := first(item, at)
		d.places[itemPath] = itemAt
		if d.resolve(item, itemAt, itemPath) == nil {
			d.fail(itemAt, itemPath, "must not be empty")
			continue
		}
		d.value(item, itemAt, v.Index(i), itemPath)
	}
}

// first is where an item begins: a mapping does with its first key.
func first(n ast.Node, otherwise place) place {
	switch x := n.(type) {
	case nil:
		return otherwise
	case *ast.MappingNode:
		if !x.IsFlowStyle && len(x.Values) > 0 {
			return placeOf(x.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return placeOf(x.Key.GetToken())
	}
	if t := n.GetToken(); t != nil {
		return placeOf(t)
	}
	return otherwise
}

// dict decodes a mapping whose keys are the user's own and stay as they are.
func (d *decoder) dict(n ast.Node, at place, v reflect.Value, path string) {
	if n = d.resolve(n, at, path); n == nil {
		return
	}
	entries, ok := d.entries(n, path)
	if !ok {
		d.fail(at, path, "must be an object, with `key: value` lines")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(entries)))
	for _, e := range entries {
		itemPath := fmt.Sprintf("%s[%s]", path, e.key)
		d.places[itemPath] = e.at
		item := reflect.New(v.Type().Elem()).Elem()
		d.scalar(d.resolve(e.value, e.at, itemPath), e.at, item, itemPath)
		v.SetMapIndex(reflect.ValueOf(e.key), item)
	}
}

func (d *decoder) scalar(n ast.Node, at place, v reflect.Value, path string) {
	forced := false
	if tag, ok := n.(*ast.TagNode); ok {
		if tag.Start.Value != "!!str" {
			d.fail(at, path, "the tag `%s` has no meaning here", tag.Start.Value)
			return
		}
		forced = true
		n = d.resolve(tag.Value, at, path)
	}
	if n == nil {
		if v.Kind() == reflect.String {
			d.fail(at, path, "must be a string; write '' for an empty one")
		}
		return
	}
	var text string
	isString := false
	switch x := n.(type) {
	case *ast.StringNode:
		text, isString = x.Value, true
	case *ast.LiteralNode:
		text, isString = x.Value.Value, true
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		d.fail(at, path, "must be %s", kindName(v.Kind()))
		return
	default:
		text = n.GetToken().Value
	}
	switch v.Kind() {
	case reflect.String:
		if !isString && !forced {
			d.fail(at, path, "must be a string; write it with quotes") // and not the value, which may be a secret
			return
		}
		v.SetString(text)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.fail(at, path, "must be true or false")
			return
		}
		v.SetBool(b.Value)
	default:
		i, err := parseInteger(text, v.Type().Bits())
		switch t := n.GetToken().Type; {
		case err != nil:
			d.fail(at, path, "must be an integer, in decimal digits")
			return
		case isString && (t == token.SingleQuoteType || t == token.DoubleQuoteType):
			d.fail(at, path, "must be an integer; write it without quotes")
			return
		}
		v.SetInt(i)
	}
}

// intOrString decodes a number, or a name.
func (d *decoder) intOrString(n ast.Node, at place, into *intstr.IntOrString, path string) {
	switch x := d.resolve(n, at, path).(type) {
	case nil:
	case *ast.IntegerNode:
		if i, err := parseInteger(x.GetToken().Value, 32); err == nil {
			*into = intstr.FromInt32(int32(i)) //nolint:gosec // it was parsed within 32 bits
			return
		}
		d.fail(at, path, "must be an integer, in decimal digits, or a string")
	case *ast.StringNode:
		*into = intstr.FromString(x.Value)
	default:
		d.fail(at, path, "must be an integer or a string")
	}
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "an integer"
}

// parseInteger reads a decimal integer of so many bits. What does not fit is cut to what does, beyond every bound of the
// schema.
func parseInteger(s string, bits int) (int64, error) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 1 && digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, err
	}
	return n, nil
}

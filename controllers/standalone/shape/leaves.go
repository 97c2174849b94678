package shape

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// A Leaf is one setting of a struct, as the program holds it: a pointer, a list of words, or the file of a reference.
type Leaf struct {
	Path  string // admin.bindAddress
	Key   string // admin.bind_address
	Value reflect.Value
}

// Unset says whether nothing has given it a value.
func (l Leaf) Unset() bool { return l.Value.IsZero() }

// Text is its value.
func (l Leaf) Text() string {
	if l.Unset() {
		return "unset"
	}
	switch v := l.Value.Interface().(type) {
	case *v1alpha1.Reference:
		if v.File == nil {
			return ""
		}
		return *v.File
	default:
		if l.Value.Kind() == reflect.Slice {
			return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ","), "[]")
		}
		return public(fmt.Sprint(l.Value.Elem().Interface()))
	}
}

// public is a value as it may be printed: of a URL without whom it names.
func public(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil && u.Host != "" {
		u.User = url.User("…")
		return strings.Replace(u.String(), url.PathEscape("…"), "…", 1)
	}
	return text
}

// Variable is the variable of the environment that stands for it.
func (l Leaf) Variable() string {
	return "PINGORA_" + strings.ToUpper(strings.ReplaceAll(l.Key, ".", "_"))
}

// Leaves lists the settings of a struct and of those in it, in the order of their fields.
func (s *Shapes) Leaves(of reflect.Value) []Leaf {
	var out []Leaf
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for _, f := range s.Of(v.Type()).Fields {
			at, fv := f.JSON, v.FieldByIndex(f.Index)
			if path != "" {
				at = path + "." + at
			}
			switch {
			case fv.Kind() == reflect.Struct:
				walk(fv, at)
			case fv.Type() == reflect.TypeFor[*v1alpha1.Reference]():
				out = append(out, Leaf{Path: at + ".file", Key: FilePath(at) + ".file", Value: fv})
			default:
				out = append(out, Leaf{Path: at, Key: FilePath(at), Value: fv})
			}
		}
	}
	walk(of, "")
	return out
}

package v1alpha1

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// References calls yield with every Reference below v, a pointer to a struct of this package, and the path of its field:
// "auth.jwt[0].jwksRef".
func References(v any, yield func(path string, r *Reference)) {
	references("", reflect.ValueOf(v), yield)
}

func references(path string, v reflect.Value, yield func(path string, r *Reference)) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if r, ok := v.Interface().(*Reference); ok {
			yield(path, r)
			return
		}
		references(path, v.Elem(), yield)
	case reflect.Struct:
		for _, f := range pathsOf(v.Type()) {
			below := v.Field(f.index)
			switch {
			case below.IsZero():
			case f.name == "": // inlined
				references(path, below, yield)
			case path != "":
				references(path+"."+f.name, below, yield)
			default:
				references(f.name, below, yield)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			references(path+"["+strconv.Itoa(i)+"]", v.Index(i).Addr(), yield)
		}
	}
}

// A pathTo is a field of a struct below which a Reference may stand.
type pathTo struct {
	index int
	name  string // empty: it is inlined
}

// paths are the pathsOf the structs of a service: to work them out takes longer than to follow them.
var paths = func() map[reflect.Type][]pathTo {
	known := map[reflect.Type][]pathTo{}
	for _, t := range Structs(reflect.TypeFor[ProxyServiceSpec]()) {
		known[t] = workOut(t)
	}
	return known
}()

func pathsOf(t reflect.Type) []pathTo {
	if known, ok := paths[t]; ok {
		return known
	}
	return workOut(t)
}

func workOut(t reflect.Type) []pathTo {
	var out []pathTo
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if (name != "" || options == "inline") && slices.Contains(Structs(f.Type), reflect.TypeFor[Reference]()) {
			out = append(out, pathTo{index: i, name: name})
		}
	}
	return out
}

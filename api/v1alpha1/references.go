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
var paths = pathsBelow(map[reflect.Type][]pathTo{}, reflect.TypeFor[ProxyServiceSpec]())

func pathsBelow(known map[reflect.Type][]pathTo, t reflect.Type) map[reflect.Type][]pathTo {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || known[t] != nil {
		return known
	}
	known[t] = workOut(t)
	for _, p := range known[t] {
		pathsBelow(known, t.Field(p.index).Type)
	}
	return known
}

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
		if (name != "" || options == "inline") && leads(f.Type, nil) {
			out = append(out, pathTo{index: i, name: name})
		}
	}
	return out
}

// leads says whether a Reference may stand in a value of a type. above are the structs that it is looked at for.
func leads(t reflect.Type, above []reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return t.Elem() == reflect.TypeFor[Reference]() || leads(t.Elem(), above)
	case reflect.Slice:
		k := t.Elem().Kind()
		return (k == reflect.Struct || k == reflect.Pointer) && leads(reflect.PointerTo(t.Elem()), above)
	case reflect.Struct:
		if slices.Contains(above, t) {
			return false
		}
		for i := range t.NumField() {
			if leads(t.Field(i).Type, append(slices.Clip(above), t)) {
				return true
			}
		}
	}
	return false
}

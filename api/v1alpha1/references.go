package v1alpha1

import (
	"reflect"
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
		for i := range v.NumField() {
			name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			switch {
			case options == "inline":
				references(path, v.Field(i), yield)
			case name != "" && path != "":
				references(path+"."+name, v.Field(i), yield)
			case name != "":
				references(name, v.Field(i), yield)
			}
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.Struct && k != reflect.Pointer {
			return
		}
		for i := range v.Len() {
			references(path+"["+strconv.Itoa(i)+"]", v.Index(i).Addr(), yield)
		}
	}
}

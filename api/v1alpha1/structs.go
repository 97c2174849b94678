package v1alpha1

import (
	"reflect"
	"slices"
)

// Structs lists the types of structs that a value of a type may hold, in fields, lists and behind pointers, each of them once.
func Structs(t reflect.Type) []reflect.Type { return structs(nil, t) }

func structs(known []reflect.Type, t reflect.Type) []reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(known, t) {
		return known
	}
	known = append(known, t)
	for i := range t.NumField() {
		known = structs(known, t.Field(i).Type)
	}
	return known
}

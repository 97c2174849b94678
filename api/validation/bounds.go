package validation

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// bounds are the markers of one field, as the generator writes them down.
type bounds struct {
	required      bool
	min, max      *int64
	maxLength     int
	maxItems      int
	maxProperties int
	items         *bounds
}

func to(n int64) *int64 { return &n }

// A bounded is a field of a struct, with its markers.
type bounded struct {
	bounds

	name   string
	inline bool
}

// fields are the fieldsOf the structs of a service: to work them out takes longer than to check them.
var fields = func() map[reflect.Type][]bounded {
	known := map[reflect.Type][]bounded{}
	for _, t := range v1alpha1.Structs(reflect.TypeFor[v1alpha1.ProxyServiceSpec]()) {
		known[t] = workOut(t)
	}
	return known
}()

func fieldsOf(t reflect.Type) []bounded {
	if known, ok := fields[t]; ok {
		return known
	}
	return workOut(t)
}

func workOut(t reflect.Type) []bounded {
	out := make([]bounded, t.NumField())
	for i := range out {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		out[i] = bounded{bounds: boundsOf(t.Name(), name), name: name, inline: options == "inline"}
		if f.Type == reflect.TypeFor[intstr.IntOrString]() { // which has no zero of its own: its owner checks it
			out[i].required = false
		}
	}
	return out
}

// checkBounds compares everything below v with the markers of its fields, so that no bound can be forgotten.
func checkBounds(path *field.Path, v reflect.Value) field.ErrorList {
	var errs field.ErrorList
	for i, f := range fieldsOf(v.Type()) {
		below := v.Field(i)
		switch {
		case f.inline:
			errs = append(errs, checkBounds(path, below)...)
		case !below.IsZero():
			errs = append(errs, checkValue(child(path, f.name), below, f.bounds)...)
		case f.required:
			errs = append(errs, field.Required(child(path, f.name), "must be set"))
		}
	}
	return errs
}

func checkValue(path *field.Path, v reflect.Value, b bounds) field.ErrorList {
	var errs field.ErrorList
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return checkValue(path, v.Elem(), b)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[intstr.IntOrString]() {
			return nil // its owner checks it
		}
		return checkBounds(path, v)
	case reflect.Slice:
		if n := v.Len(); b.maxItems > 0 && n > b.maxItems {
			return field.ErrorList{field.Invalid(path, n, fmt.Sprintf("must have at most %d items, has %d", b.maxItems, n))}
		}
		var item bounds
		if b.items != nil {
			item = *b.items
		}
		for i := range v.Len() {
			errs = append(errs, checkValue(path.Index(i), v.Index(i), item)...)
		}
	case reflect.Map:
		if n := v.Len(); b.maxProperties > 0 && n > b.maxProperties {
			errs = append(errs, field.Invalid(path, n, fmt.Sprintf("must have at most %d entries, has %d", b.maxProperties, n)))
		}
	case reflect.String:
		if n := utf8.RuneCountInString(v.String()); b.maxLength > 0 && n > b.maxLength {
			errs = append(errs, field.Invalid(path, n, fmt.Sprintf("must have at most %d characters, has %d", b.maxLength, n)))
		}
		errs = append(errs, checkEnum(path, v.Type().Name(), v.String())...)
	case reflect.Int32, reflect.Int64:
		if b.min != nil && v.Int() < *b.min {
			errs = append(errs, field.Invalid(path, v.Int(), fmt.Sprintf("must be greater than or equal to %d", *b.min)))
		}
		if b.max != nil && v.Int() > *b.max {
			errs = append(errs, field.Invalid(path, v.Int(), fmt.Sprintf("must be less than or equal to %d", *b.max)))
		}
		errs = append(errs, checkEnum(path, v.Type().Name(), fmt.Sprint(v.Int()))...)
	}
	return errs
}

func checkEnum(path *field.Path, typ, value string) field.ErrorList {
	allowed := enumOf(typ)
	if allowed == nil {
		return nil
	}
	for _, a := range allowed {
		if a == value {
			return nil
		}
	}
	detail := "must be one of `" + strings.Join(allowed, "`, `") + "`"
	if near := syntax.Nearest(value, allowed); near != "" {
		detail += "; did you mean `" + near + "`?"
	}
	return field.ErrorList{field.Invalid(path, value, detail)}
}

// MaxServices is the number of services that one process proxies at most.
func MaxServices() int { return boundsOf("Config", "services").maxItems }

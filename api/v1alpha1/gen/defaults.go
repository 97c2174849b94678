package main

import (
	"reflect"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// defaultValues asks package defaults what it fills in where nothing is set, by Struct.field.
func defaultValues() map[string]any {
	out := map[string]any{}
	var globals settings.Globals
	defaults.Globals(&globals)
	collect(out, reflect.ValueOf(globals))
	var service v1alpha1.ProxyServiceSpec
	grow(reflect.ValueOf(&service).Elem())
	defaults.Service(&service, v1alpha1.FromFile)
	collect(out, reflect.ValueOf(service))
	return out
}

// grow makes every object and one item of every list, with all their plain fields unset.
func grow(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			grow(v.Field(i))
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.New(v.Type().Elem()))
			grow(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			grow(v.Index(0))
		}
	}
}

func collect(out map[string]any, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		f := v.Field(i)
		if f.Kind() == reflect.Slice && f.Len() > 0 {
			f = f.Index(0)
		}
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
			switch f.Kind() {
			case reflect.Int32, reflect.Int64:
				out[t.Name()+"."+name] = f.Int()
			case reflect.Bool:
				out[t.Name()+"."+name] = f.Bool()
			case reflect.String:
				out[t.Name()+"."+name] = f.String()
			}
		}
		if f.Kind() == reflect.Struct {
			collect(out, f)
		}
	}
}

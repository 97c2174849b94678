package standalone

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// From says where a setting came from: each beats those before it.
type From string

// The origins of a setting.
const (
	FromDefault     From = "default"
	FromFile        From = "file"
	FromEnvironment From = "environment"
	FromFlag        From = "flag"
)

// A Setting is one global with its value and its origin.
type Setting struct {
	Key      string `json:"key"`      // as in the file: admin.bind_address
	Variable string `json:"variable"` // of the environment: PINGORA_ADMIN_BIND_ADDRESS
	Value    string `json:"value"`
	From     From   `json:"from"`
	Where    string `json:"where,omitempty"` // file:line:column, the variable, or the flag
}

// A Flag is an argument that stands for a global.
type Flag struct{ Name, Value string }

// aliases are variables with names of their own. The general one beats them.
var aliases = map[string]string{"limits.worker_threads": "WORKER_THREADS"}

// leaf is one global as the program holds it: a pointer, a list of words, or the file of a reference.
type leaf struct {
	path  string // admin.bindAddress
	key   string // admin.bind_address
	value reflect.Value
}

// unset says whether nothing has given it a value.
func (l leaf) unset() bool { return l.value.IsZero() }

// text is its value.
func (l leaf) text() string {
	if l.unset() {
		return "unset"
	}
	switch v := l.value.Interface().(type) {
	case *v1alpha1.Reference:
		return deref(v.File)
	default:
		if l.value.Kind() == reflect.Slice {
			return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ","), "[]")
		}
		return fmt.Sprint(l.value.Elem().Interface())
	}
}

func (l leaf) variable() string {
	return "PINGORA_" + strings.ToUpper(strings.ReplaceAll(l.key, ".", "_"))
}

// leaves lists the globals in the order of their fields.
func leaves(s *shapes, g *settings.Globals) []leaf {
	var out []leaf
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for _, f := range s.of(v.Type()).fields {
			at, fv := join(path, f.json), v.FieldByIndex(f.index)
			switch {
			case fv.Kind() == reflect.Struct:
				walk(fv, at)
			case fv.Type() == reflect.TypeFor[*v1alpha1.Reference]():
				out = append(out, leaf{path: at + ".file", key: filePath(at) + ".file", value: fv})
			default:
				out = append(out, leaf{path: at, key: filePath(at), value: fv})
			}
		}
	}
	walk(reflect.ValueOf(g).Elem(), "")
	return out
}

// override puts the environment's and the flags' values over the file's, and says where each setting came from.
// sources holds the problems' places by the path of the global.
func (l *loader) override(g *settings.Globals) {
	for _, f := range leaves(l.shapes, g) {
		set := Setting{Key: f.key, Variable: f.variable(), From: FromDefault}
		if !f.unset() {
			set.From, set.Where = FromFile, l.globalProblem(f.path, "").place()
		}
		name := f.variable()
		text, ok := l.variable(name)
		if !ok && aliases[f.key] != "" {
			name = aliases[f.key]
			text, ok = l.variable(name)
		}
		if ok {
			set.From, set.Where = FromEnvironment, name
			l.assign(f, text, Problem{File: "environment", Path: name})
		}
		if flag, ok := l.options.Flags[f.key]; ok {
			set.From, set.Where = FromFlag, flag.Name
			l.assign(f, flag.Value, Problem{File: "command line", Path: flag.Name})
		}
		l.settings = append(l.settings, set)
	}
	for key, flag := range l.options.Flags {
		if !l.hasSetting(key) {
			l.problems = append(l.problems, Problem{File: "command line", Path: flag.Name, Message: "there is no setting `" + key + "`"})
		}
	}
}

func (l *loader) hasSetting(key string) bool {
	for _, s := range l.settings {
		if s.Key == key {
			return true
		}
	}
	return false
}

// variable looks one up; an empty one counts as unset.
func (l *loader) variable(name string) (string, bool) {
	if l.options.Environment == nil {
		return "", false
	}
	text, ok := l.options.Environment(name)
	return text, ok && text != ""
}

func (l *loader) assign(f leaf, text string, at Problem) {
	l.overridden[f.path] = at
	switch {
	case f.value.Type() == reflect.TypeFor[*v1alpha1.Reference]():
		f.value.Set(reflect.ValueOf(&v1alpha1.Reference{File: &text}))
		return
	case f.value.Kind() == reflect.Slice:
		words := strings.Split(text, ",")
		list := reflect.MakeSlice(f.value.Type(), len(words), len(words))
		for i, word := range words {
			list.Index(i).SetString(strings.TrimSpace(word))
		}
		f.value.Set(list)
		return
	}
	v := reflect.New(f.value.Type().Elem())
	switch v.Elem().Kind() {
	case reflect.String:
		v.Elem().SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			at.Message = "must be true or false"
			l.problems = append(l.problems, at)
			return
		}
		v.Elem().SetBool(text == "true")
	default:
		n, err := parseInteger(text, v.Elem().Type().Bits())
		if err != nil {
			at.Message = "must be an integer, in decimal digits"
			l.problems = append(l.problems, at)
			return
		}
		v.Elem().SetInt(n)
	}
	f.value.Set(v)
}

// values writes the settings' values down, once they are complete.
func (l *loader) values(g *settings.Globals) []Setting {
	for i, f := range leaves(l.shapes, g) {
		l.settings[i].Value = f.text()
	}
	return l.settings
}

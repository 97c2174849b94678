package standalone

import (
	"reflect"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
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

// override puts the environment's and the flags' values over the file's, and says where each setting came from.
// sources holds the problems' places by the path of the global.
func (l *loader) override(g *settings.Globals) {
	for _, f := range l.history.shapes.Leaves(reflect.ValueOf(g).Elem()) {
		set := Setting{Key: f.Key, Variable: f.Variable(), From: FromDefault}
		if !f.Unset() {
			set.From, set.Where = FromFile, l.globalProblem(f.Path, "").place()
		}
		name := f.Variable()
		text, ok := l.variable(name)
		if !ok && aliases[f.Key] != "" {
			name = aliases[f.Key]
			text, ok = l.variable(name)
		}
		if ok {
			set.From, set.Where = FromEnvironment, name
			l.assign(f, text, Problem{File: "environment", Path: name})
		}
		if flag, ok := l.options.Flags[f.Key]; ok {
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

func (l *loader) assign(f shape.Leaf, text string, at Problem) {
	l.overridden[f.Path] = at
	switch {
	case f.Value.Type() == reflect.TypeFor[*v1alpha1.Reference]():
		f.Value.Set(reflect.ValueOf(&v1alpha1.Reference{File: &text}))
		return
	case f.Value.Kind() == reflect.Slice:
		words := strings.Split(text, ",")
		list := reflect.MakeSlice(f.Value.Type(), len(words), len(words))
		for i, word := range words {
			list.Index(i).SetString(strings.TrimSpace(word))
		}
		f.Value.Set(list)
		return
	}
	v := reflect.New(f.Value.Type().Elem())
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
	f.Value.Set(v)
}

// values writes the settings' values down, once they are complete.
func (l *loader) values(g *settings.Globals) []Setting {
	for i, f := range l.history.shapes.Leaves(reflect.ValueOf(g).Elem()) {
		l.settings[i].Value = f.Text()
	}
	return l.settings
}

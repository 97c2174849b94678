package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// write spells everything out.
func (c *conversion) write() []byte {
	var w writer
	if c.to == File {
		w.spell = syntax.FileKey
		w.comment(c.comments)
		w.fields(reflect.ValueOf(c.config), 0)
		return w.out.Bytes()
	}
	w.spell = func(name string) string { return name }
	for i, o := range c.objects {
		if i > 0 {
			w.out.WriteString("---\n")
		}
		w.comment(o.comments)
		w.out.WriteString("apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata:\n  name: " + scalar(o.name) + "\n")
		if o.namespace != "" {
			w.out.WriteString("  namespace: " + scalar(o.namespace) + "\n")
		}
		w.entry("spec", reflect.ValueOf(o.spec), 0)
	}
	return w.out.Bytes()
}

// verify reads what was written: it must be what was meant.
func (c *conversion) verify(text []byte) error {
	documents, problems := standalone.Documents("the result", text)
	if len(problems) > 0 {
		return errors.New("cannot be written so that it is read again: " + problems[0].String())
	}
	var same bool
	if c.to == File {
		same = len(documents) == 1 && reflect.DeepEqual(plain(documents[0].Config), plain(c.config))
	} else if same = len(documents) == len(c.objects); same {
		for i, d := range documents {
			o := c.objects[i]
			same = same && d.Object && d.Name == o.name && d.Namespace == o.namespace &&
				reflect.DeepEqual(plain(d.Config.Services[0]), plain(o.spec))
		}
	}
	if !same {
		return errors.New("cannot be written so that it stays the same")
	}
	return nil
}

// plain is a value without the difference between what is empty and what is not there, where the types know none.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return string(text)
}

// A writer writes YAML. Its values are those of the schema: structs, lists, texts and maps of them, numbers and booleans.
type writer struct {
	out   bytes.Buffer
	spell func(name string) string
}

func (w *writer) comment(lines []string) {
	for _, line := range lines {
		w.out.WriteString("# " + strings.Join(strings.Fields(line), " ") + "\n")
	}
}

func (w *writer) indent(depth int) {
	for range depth {
		w.out.WriteString("  ")
	}
}

// fields writes the fields of a struct that are set, a line or more each.
func (w *writer) fields(v reflect.Value, depth int) {
	eachField(v, func(name string, f reflect.Value) {
		if set(f) {
			w.indent(depth)
			w.entry(w.spell(name), f, depth)
		}
	})
}

// set reports whether there is anything to write. A pointer, a list or a map that is there is written, however empty.
func set(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return !v.IsNil()
	}
	return !v.IsZero()
}

// entry writes a key and its value. The indentation of the key stands there already.
func (w *writer) entry(key string, v reflect.Value, depth int) {
	w.out.WriteString(key + ":")
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if text, ok := inline(v); ok {
		w.out.WriteString(" " + text + "\n")
		return
	}
	w.out.WriteByte('\n')
	switch v.Kind() {
	case reflect.Struct:
		w.fields(v, depth+1)
	case reflect.Map:
		for _, key := range slices.Sorted(maps.Keys(v.Interface().(map[string]string))) {
			w.indent(depth + 1)
			w.out.WriteString(scalar(key) + ": " + scalar(v.MapIndex(reflect.ValueOf(key)).String()) + "\n")
		}
	case reflect.Slice:
		for i := range v.Len() {
			w.indent(depth + 1)
			w.out.WriteString("- ")
			w.item(v.Index(i), depth+2)
		}
	}
}

// item writes a struct in a list: its first field stands behind the dash.
func (w *writer) item(v reflect.Value, depth int) {
	first := true
	eachField(v, func(name string, f reflect.Value) {
		if !set(f) {
			return
		}
		if !first {
			w.indent(depth)
		}
		first = false
		w.entry(w.spell(name), f, depth)
	})
	if first {
		w.out.WriteString("{}\n")
	}
}

// inline is a value that stands behind its key.
func inline(v reflect.Value) (string, bool) {
	if x, ok := v.Interface().(intstr.IntOrString); ok {
		if x.Type == intstr.Int {
			return strconv.Itoa(int(x.IntVal)), true
		}
		return quoted(x.StrVal), true
	}
	switch v.Kind() {
	case reflect.String:
		return scalar(v.String()), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Map:
		return "{}", v.Len() == 0
	case reflect.Struct:
		empty := true
		eachField(v, func(_ string, f reflect.Value) { empty = empty && !set(f) })
		return "{}", empty
	case reflect.Slice:
		if kind := v.Type().Elem().Kind(); v.Len() > 0 && kind == reflect.Struct {
			return "", false
		}
		items := make([]string, v.Len())
		for i := range items {
			items[i], _ = inline(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]", true
	}
	return "", false
}

// bare are texts that mean nothing else in YAML, of any version, when they stand without quotes.
var bare = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*$`)

// scalar writes a text.
func scalar(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan":
		return quoted(s)
	}
	if bare.MatchString(s) {
		return s
	}
	return quoted(s)
}

func quoted(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	// A text of JSON is one of YAML (YAML 1.2, §1.2).
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

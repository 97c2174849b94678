package convert

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// A Form is one of the two that a configuration is written in.
type Form string

// The forms.
const (
	Objects Form = "cr"   // ProxyService documents
	File    Form = "file" // globals and services
)

// Options say what is wanted.
type Options struct {
	To        Form   // empty: objects become a file, and a file becomes objects
	Namespace string // of objects that have none
	Partial   bool   // leave out what has no place on the other side, and say so in comments
}

// A Result is what has become of the documents.
type Result struct {
	YAML  []byte
	Left  []standalone.Problem // what has no place on the other side; without Options.Partial there is no YAML then
	Notes []string             // what means something else on the other side
}

// Convert converts the content of a file, which it calls by the name. Problems are what is wrong with it as it stands.
func Convert(name string, data []byte, o Options) (*Result, []standalone.Problem) {
	documents, problems := standalone.Documents(name, data)
	if len(problems) > 0 {
		return nil, problems
	}
	c := conversion{to: o.To, namespace: o.Namespace}
	if c.to == "" {
		c.to = Objects
		for _, d := range documents {
			if d.Object {
				c.to = File
			}
		}
	}
	for _, d := range documents {
		c.document(d)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	if len(c.config.Services) == 0 && len(c.objects) == 0 && reflect.ValueOf(c.config.Globals).IsZero() {
		return nil, []standalone.Problem{{File: name, Message: "holds no service"}}
	}
	r := &Result{Left: c.left, Notes: c.notes}
	if len(c.left) > 0 && !o.Partial {
		return r, nil
	}
	r.YAML = c.write()
	if err := c.verify(r.YAML); err != nil {
		return nil, []standalone.Problem{{File: name, Message: err.Error()}}
	}
	return r, nil
}

// An object is one ProxyService document.
type object struct {
	namespace, name string
	spec            v1alpha1.ProxyServiceSpec
	comments        []string // what was left out
}

type conversion struct {
	to        Form
	namespace string
	problems  []standalone.Problem
	left      []standalone.Problem
	notes     []string

	objects  []object        // for Objects
	config   settings.Config // for File
	comments []string        // what was left out of config
}

func (c *conversion) document(d *standalone.Document) {
	if c.to == File && !d.Object {
		c.merge(d)
	}
	if c.to == Objects && !d.Object {
		c.globals(d)
	}
	for i := range d.Config.Services {
		c.service(d, i)
	}
}

// merge takes over the globals of a file that stays one.
func (c *conversion) merge(d *standalone.Document) {
	from, into := reflect.ValueOf(d.Config.Globals), reflect.ValueOf(&c.config.Globals).Elem()
	for i := range from.NumField() {
		if from.Field(i).IsZero() {
			continue
		}
		if name := jsonName(from.Type().Field(i)); !into.Field(i).IsZero() {
			c.problems = append(c.problems, d.Problem(name, "is set in another document already; keep one of them"))
		}
		into.Field(i).Set(from.Field(i))
	}
}

// globals are settings of the process: no object has them.
func (c *conversion) globals(d *standalone.Document) {
	v := reflect.ValueOf(d.Config.Globals)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			c.left = append(c.left, d.Problem(jsonName(v.Type().Field(i)), "has no place in an object: in a cluster it is the controller's `--config`"))
		}
	}
}

func (c *conversion) service(d *standalone.Document, i int) {
	spec := d.Config.Services[i]
	was, becomes := v1alpha1.FromFile, v1alpha1.FromCluster
	if d.Object {
		was = v1alpha1.FromCluster
	}
	if c.to == File {
		becomes = v1alpha1.FromFile
	}
	name := spec.Name
	if d.Object {
		if name == "" {
			name = d.Name
		} else if name != d.Name && c.to == File {
			c.note("%s: the object %s is called %s in the file, as its spec.name says", d.Path(i), d.Name, name)
		}
	}
	for _, e := range faults(&spec, name, d.Path(i), was) {
		c.problems = append(c.problems, d.Problem(e.Field, e.Detail))
	}
	var comments []string
	if was != becomes {
		spec = *spec.DeepCopy()
		for _, e := range faults(&spec, name, d.Path(i), becomes) {
			p := d.Problem(e.Field, e.Detail)
			c.left = append(c.left, p)
			comments = append(comments, fmt.Sprintf("left out: %s: %s", p.Path, p.Message))
			clearAt(reflect.ValueOf(&spec).Elem(), strings.TrimPrefix(strings.TrimPrefix(e.Field, d.Path(i).String()), "."))
		}
		c.meanings(d, &spec, name)
	}
	if c.to == File {
		spec.Name = name
		c.config.Services = append(c.config.Services, spec)
		for _, comment := range comments {
			c.comments = append(c.comments, name+": "+comment)
		}
		return
	}
	o := object{namespace: d.Namespace, name: d.Name, spec: spec, comments: comments}
	if !d.Object {
		o.name, o.spec.Name = name, ""
	}
	if o.namespace == "" {
		o.namespace = c.namespace
	}
	c.objects = append(c.objects, o)
}

func (c *conversion) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// meanings notes what is the same in both forms and means something else.
func (c *conversion) meanings(d *standalone.Document, spec *v1alpha1.ProxyServiceSpec, name string) {
	tcp := spec.Protocol != nil && *spec.Protocol == v1alpha1.ProtocolTCP
	secure := spec.TLS != nil && *spec.TLS && !tcp
	named := spec.TLSConfig != nil && len(spec.TLSConfig.Certificates) > 0
	switch {
	case spec.HealthPath != nil || tcp:
	case c.to == Objects:
		c.note("%s: a file answers /health for its services, an object does not: set `healthPath: /health` to keep it", name)
	default:
		c.note("%s: a file answers /health for its services, an object does not: set `health_path: 'off'` to keep it so", name)
	}
	if secure && !named {
		if c.to == Objects {
			c.note("%s: a file serves a self-signed certificate, an object needs `tlsConfig.certificates`", name)
		} else {
			c.note("%s: without `tls_config.certificates` a file serves a self-signed certificate", name)
		}
	}
	if d.Object && c.to == File && d.Namespace != "" {
		c.note("%s: a file knows no namespaces: %s is left out", name, d.Namespace)
	}
}

// faults lists what is wrong with a service where it comes from an origin.
func faults(spec *v1alpha1.ProxyServiceSpec, name string, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	checked := spec.DeepCopy()
	checked.Name = name
	defaults.Service(checked, from)
	return validation.Service(checked, path, from)
}

// clearAt empties a field, by its path below v. An object, a reference or an item of a list stays, with nothing in it, so
// that what is incomplete is refused until somebody completes it, and never means less than it did.
func clearAt(v reflect.Value, path string) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		if path == "" && v.Elem().Kind() != reflect.Struct {
			v.SetZero()
			return
		}
		v = v.Elem()
	}
	if path == "" {
		v.SetZero()
		return
	}
	if rest, ok := strings.CutPrefix(path, "["); ok {
		index, rest, _ := strings.Cut(rest, "]")
		i, err := strconv.Atoi(index)
		if v.Kind() == reflect.Slice && err == nil && i < v.Len() {
			clearAt(v.Index(i), strings.TrimPrefix(rest, "."))
		} else {
			v.SetZero() // an entry of a map
		}
		return
	}
	if v.Kind() != reflect.Struct {
		v.SetZero()
		return
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	eachField(v, func(name string, f reflect.Value) {
		if name == path[:end] {
			clearAt(f, strings.TrimPrefix(path[end:], "."))
		}
	})
}

// eachField calls yield with the fields of a struct, those of embedded ones among them.
func eachField(v reflect.Value, yield func(name string, f reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if _, options, _ := strings.Cut(f.Tag.Get("json"), ","); options == "inline" {
			eachField(v.Field(i), yield)
			continue
		}
		if name := jsonName(f); name != "" {
			yield(name, v.Field(i))
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

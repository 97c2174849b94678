package standalone

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// The identity of an object in a file.
const (
	apiVersion = "pingora-proxy.dev/v1alpha1"
	kind       = "ProxyService"
)

// A document is one YAML document of a file: globals and services, or one object.
type document struct {
	file    string
	decoder *decoder
	start   place
	words   map[string]bool // names of fields, to spell sentences
	config  settings.Config

	object          bool
	namespace, name string

	written func() *document // reads it again; nil: it is no file's
	placed  bool             // the decoder knows all places again
}

// forget drops what is only needed to say what is wrong: most documents are read once and never spoken of.
func (d *document) forget() {
	d.decoder.anchors, d.decoder.faults, d.decoder.unread, d.decoder.meant, d.decoder.spoiled = nil, nil, nil, nil, nil
	top := map[string]place{}
	for path, at := range d.decoder.places {
		if !strings.ContainsAny(path, ".[") {
			top[path] = at
		}
	}
	d.decoder.places = top
}

// readDocument decodes one document. It is nil where there is nothing.
func readDocument(s *shape.Shapes, words map[string]bool, file string, node *ast.DocumentNode) *document {
	body := node.Body
	switch body.(type) {
	case nil, *ast.DirectiveNode, *ast.CommentGroupNode:
		return nil
	}
	d := &document{file: file, decoder: newDecoder(s, body), words: words, start: first(body, place{1, 1})}
	n := d.decoder.resolve(body, d.start, "")
	if n == nil {
		return nil
	}
	entries, ok := d.decoder.entries(n, "")
	if !ok {
		d.decoder.fail(d.start, "", "must be an object, with `key: value` lines")
		return d
	}
	for _, e := range entries {
		if e.key == "kind" || e.key == "apiVersion" {
			d.readObject(entries)
			return d
		}
	}
	d.decoder.fill(entries, reflect.ValueOf(&d.config).Elem(), "")
	if d.decoder.nodes > tree.MaxNodes {
		d.config = settings.Config{} // a part of it would only look wrong in other ways
	}
	return d
}

// readObject decodes what `kubectl get -o yaml` prints of one object. Of its metadata only the name matters here.
func (d *document) readObject(entries []entry) {
	d.object, d.decoder.camel = true, true
	d.config.Services = make([]v1alpha1.ProxyServiceSpec, 1)
	seen := map[string]bool{}
	for _, e := range entries {
		d.decoder.places[e.key] = e.at
		seen[e.key] = true
		switch e.key {
		case "apiVersion":
			d.constant(e, apiVersion)
		case "kind":
			d.constant(e, kind)
		case "metadata":
			d.metadata(e)
		case "spec":
			d.decoder.object(e.value, e.at, reflect.ValueOf(&d.config.Services[0]).Elem(), "spec")
		case "status":
		default:
			message := fmt.Sprintf("unknown field %q", syntax.Shown(e.key))
			if near := syntax.Nearest(e.key, []string{"apiVersion", "kind", "metadata", "spec"}); near != "" {
				message += "; did you mean `" + near + "`?"
			}
			d.decoder.failAs(e.at, syntax.Shown(e.key), message)
		}
	}
	for _, key := range []string{"apiVersion", "kind", "metadata", "spec"} {
		if !seen[key] {
			d.decoder.failAs(d.start, key, "must be set")
		}
	}
	if d.config.Services[0].Name == "" {
		d.config.Services[0].Name = d.name
	}
}

func (d *document) constant(e entry, want string) {
	n := d.decoder.resolve(e.value, e.at, e.key)
	if s, ok := n.(*ast.StringNode); !ok || s.Value != want {
		d.decoder.failAs(e.at, e.key, "must be `"+want+"`; other objects have no meaning here")
	}
}

func (d *document) metadata(e entry) {
	n := d.decoder.resolve(e.value, e.at, "metadata")
	entries, ok := d.decoder.entries(n, "metadata")
	if !ok {
		d.decoder.failAs(e.at, "metadata", "must be an object with a `name`")
		return
	}
	for _, m := range entries {
		var into *string
		switch m.key {
		case "name":
			into = &d.name
		case "namespace":
			into = &d.namespace
		default:
			continue
		}
		at := "metadata." + m.key
		d.decoder.places[at] = m.at
		d.decoder.scalar(d.decoder.resolve(m.value, m.at, at), m.at, reflect.ValueOf(into).Elem(), at)
	}
	if d.name == "" {
		d.decoder.failAs(e.at, "metadata.name", "must be set")
	}
}

// path is where a service's spec stands in the document.
func (d *document) path(service int) *field.Path {
	if d.object {
		return field.NewPath("spec")
	}
	return field.NewPath("services").Index(service)
}

// place looks up where a field stands; one that is not there stands where its owner does.
func (d *document) place(path string) place {
	if d.written != nil && !d.placed && d.decoder.anchors == nil {
		d.placed = true
		if again := d.written(); again != nil {
			d.decoder.places = again.decoder.places
		}
	}
	for path != "" {
		if at, ok := d.decoder.places[path]; ok {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return d.start
}

// problem places something that Validate or Translate found.
func (d *document) problem(path, message string) Problem {
	if !d.object {
		message = shape.FileWords(message, d.words)
	}
	at := d.place(path)
	return Problem{File: d.file, Line: at.line, Column: at.column, Path: d.decoder.show(path), Message: message}
}

// faults lists what was wrong with the document itself.
func (d *document) faults() []Problem {
	var out []Problem
	for _, f := range d.decoder.faults {
		out = append(out, Problem{File: d.file, Line: f.at.line, Column: f.at.column, Path: f.path, Message: f.message})
	}
	return out
}

// faulty says whether a part of a service could not be read.
func (d *document) faulty(service int) bool {
	at := d.decoder.show(d.path(service).String())
	return slices.ContainsFunc(d.decoder.faults, func(f fault) bool {
		return d.object || f.path == at || strings.HasPrefix(f.path, at+".")
	})
}

// validate checks one service, leaving out what is missing only because it could not be read.
func (d *document) validate(service int, from v1alpha1.Origin) []Problem {
	var out []Problem
	for _, e := range validation.Service(&d.config.Services[service], d.path(service), from) {
		if d.decoder.unread[e.Field] || e.Type == field.ErrorTypeRequired && d.excused(e) {
			continue
		}
		out = append(out, d.problem(e.Field, e.Detail))
	}
	return out
}

func (d *document) excused(e *field.Error) bool {
	if strings.HasPrefix(e.Detail, "set `upstreams` or") {
		for _, name := range []string{".upstreams", ".backends", ".routes"} {
			if at := e.Field + name; d.decoder.unread[at] || d.decoder.meant[at] {
				return true
			}
		}
		return false
	}
	return d.decoder.meant[e.Field] || d.decoder.spoiled[e.Field]
}

// entry is a service for the translation.
func (d *document) entry(service int) translate.Service {
	spec := d.config.Services[service]
	return translate.Service{Namespace: d.namespace, Name: spec.Name, Spec: spec}
}

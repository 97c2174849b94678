package standalone

import (
	"reflect"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"
)

// A Document is one YAML document as it is written: nothing is filled in.
type Document struct {
	Object          bool            // a ProxyService object, with one service; else globals and services
	Namespace, Name string          // of the object's metadata
	Config          settings.Config // the service of an object has no name where its spec says none

	of *document
}

// Path is where a service stands in the document.
func (d *Document) Path(service int) *field.Path { return d.of.path(service) }

// Problem places something that is wrong with a field, by its path in the API's spelling.
func (d *Document) Problem(path, message string) Problem { return d.of.problem(path, message) }

// Documents reads the documents of a file's content, which it calls by the name. The problems are those of the writing
// alone: nobody has validated anything.
func Documents(name string, data []byte) ([]*Document, []Problem) {
	nodes, f := tree.Parse(data)
	if f != nil {
		return nil, []Problem{{File: name, Line: f.At.Line, Column: f.At.Column, Message: f.Message}}
	}
	s, words := &shape.Shapes{}, map[string]bool{}
	s.Words(reflect.TypeFor[settings.Config](), words)
	var out []*Document
	var problems []Problem
	for _, node := range nodes {
		d := readDocument(s, words, name, node)
		if d == nil {
			continue
		}
		problems = append(problems, d.faults()...)
		written := &Document{Object: d.object, Namespace: d.namespace, Name: d.name, Config: d.config, of: d}
		if _, named := d.decoder.places["spec.name"]; d.object && !named {
			written.Config.Services[0].Name = ""
		}
		out = append(out, written)
	}
	return out, arrange(problems)
}

package standalone

import (
	"reflect"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// A part is what one file says, and what is wrong with it whatever the others say.
type part struct {
	file      *files.File
	documents []*document
	services  []*candidate
	problems  []Problem
	globals   bool // a part of the globals stands there
}

// A candidate is a service of a part. It serves if no other one is in its way.
type candidate struct {
	service  translate.Service // sealed
	document *document
	index    int
	sound    bool // nothing is wrong with it alone
	refers   bool // it names files, or needs what is made for the installation
}

// A history is what is kept from one load to the next: as much of the parts as unchanged files need no second look, and what
// became of their services. It belongs to one Source. Its zero value knows nothing.
type history struct {
	folder      files.Folder
	files       []*files.File // of the last load, in the order of their names
	parts       []*part       // what they say
	translation translate.Memory
	shapes      shape.Shapes
	words       map[string]bool // names of fields
	parsed      int             // files that the last load has parsed
}

// recall returns the parts of files, in their order. Those that are new are read on several processors.
func (h *history) recall(list []*files.File) []*part {
	if h.words == nil {
		h.words = map[string]bool{}
		h.shapes.Words(reflect.TypeFor[settings.Config](), h.words)
	}
	out := make([]*part, len(list))
	var fresh []int
	for i, f := range list {
		if out[i] = h.partOf(i, f); out[i] == nil {
			fresh = append(fresh, i)
		}
	}
	files.Each(len(fresh), func(i int) { out[fresh[i]] = h.parse(list[fresh[i]]) })
	h.parsed = len(fresh)
	h.files, h.parts = list, out
	return out
}

// partOf returns the part of a file as it was made for the last load, or nil. Mostly the file has the same place i as then.
func (h *history) partOf(i int, f *files.File) *part {
	if i >= len(h.files) || h.files[i] != f {
		var found bool
		i, found = slices.BinarySearchFunc(h.files, f.Name, func(other *files.File, name string) int { return strings.Compare(other.Name, name) })
		if !found || h.files[i] != f {
			return nil
		}
	}
	if h.parts[i].globals {
		return nil // what is merged with the globals of others is read again each time
	}
	return h.parts[i]
}

// parse reads one file.
func (h *history) parse(f *files.File) *part {
	p := &part{file: f}
	nodes, fault := tree.Parse(f.Data)
	if fault != nil {
		p.problems = []Problem{{File: f.Name, Line: fault.At.Line, Column: fault.At.Column, Message: fault.Message}}
		return p
	}
	for i, node := range nodes {
		if d := readDocument(&h.shapes, h.words, f.Name, node); d != nil {
			d.written = func() *document { return h.again(f, i) }
			p.problems = append(p.problems, d.faults()...)
			p.documents = append(p.documents, d)
			p.list(d)
		}
	}
	for _, d := range p.documents {
		d.forget()
	}
	p.globals = slices.ContainsFunc(p.documents, (*document).global)
	return p
}

// again reads one document of a file once more, for the places of its fields.
func (h *history) again(f *files.File, number int) *document {
	nodes, fault := tree.Parse(f.Data)
	if fault != nil || number >= len(nodes) {
		return nil // it could be read before
	}
	return readDocument(&h.shapes, h.words, f.Name, nodes[number])
}

// global says whether a part of the globals stands there, of a document that was told to forget the places of the rest.
func (d *document) global() bool {
	return !d.object && (len(d.decoder.places) > 1 || len(d.decoder.places) == 1 && len(d.config.Services) == 0)
}

// list completes and checks a document's services.
func (p *part) list(d *document) {
	from := v1alpha1.FromFile
	if d.object {
		from = v1alpha1.FromCluster
	}
	for i := range d.config.Services {
		defaults.Service(&d.config.Services[i], from)
		wrong := d.validate(i, from)
		for _, one := range wrong {
			p.problems = append(p.problems, d.spellFlags(one))
		}
		c := &candidate{service: d.entry(i), document: d, index: i, sound: len(wrong) == 0 && !d.faulty(i)}
		if c.sound {
			c.service.Seal()
			c.refers = refers(&c.service.Spec)
		}
		p.services = append(p.services, c)
	}
}

// name is where the candidate's name stands.
func (c *candidate) name() Problem {
	if c.document.object {
		return c.document.problem("metadata.name", "")
	}
	return c.document.problem(c.document.path(c.index).Child("name").String(), "")
}

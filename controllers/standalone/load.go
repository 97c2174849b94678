package standalone

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/tree"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Options say what a configuration is made of.
type Options struct {
	Path        string                           // a file, or a folder whose *.yaml files are read together; empty: none
	Environment func(name string) (string, bool) // such as os.LookupEnv; nil: no variables
	Flags       map[string]Flag                  // by the key of the global: admin.bind_address
	Services    []v1alpha1.ProxyServiceSpec      // from flags, beside those of the files

	// GlobalsOnly is for a process whose services come from elsewhere: a file must hold none.
	GlobalsOnly bool
	// CheckOnly takes the Services and Secrets that objects name as there. They are known in a cluster alone, where the
	// same object may be good: it can be checked here, but not served.
	CheckOnly bool

	selfSigned *certificates.SelfSigned // of a Source; nil: what is made for a look is not kept
}

// A Loaded configuration is complete and valid.
type Loaded struct {
	Globals  settings.Globals // with defaults
	Services []*translate.Service
	Settings []Setting // the globals one by one, with their origins
	Snapshot *snapshot.Snapshot
	Files    []string // that it was read from

	Contents map[string]material.Content // what references of the globals name

	read       reading
	history    *history
	files      certificates.Files
	selfSigned bool // a service has a certificate that nobody has configured
}

// Setting looks a global up by its key in the file.
func (l *Loaded) Setting(key string) Setting {
	for _, s := range l.Settings {
		if s.Key == key {
			return s
		}
	}
	return Setting{}
}

// Load reads a configuration. It returns either one that can be served, or everything that is wrong with it, in the
// order of the places.
func Load(o Options) (*Loaded, []Problem) {
	h := &history{}
	return newLoader(o, h).load(h.read(o.Path))
}

// LoadBytes reads a configuration from the content of one file, which it calls by the name.
func LoadBytes(name string, data []byte, o Options) (*Loaded, []Problem) {
	return newLoader(o, &history{}).load(reading{files: []*files.File{{Name: name, Data: data}}})
}

// A reading is what stands in the files, or why they could not be read.
type reading struct {
	files    []*files.File
	problems []Problem
}

// same says whether nothing has changed.
func (r reading) same(o reading) bool {
	return slices.Equal(r.files, o.files) && slices.Equal(r.problems, o.problems)
}

// read reads the file, or the files of the folder in the order of their names.
func (h *history) read(path string) reading {
	if path == "" {
		return reading{}
	}
	if list, ok := h.folder.Again(tree.MaxFileBytes); ok {
		return reading{files: list}
	}
	list, failures, err := h.folder.Read(path, tree.MaxFileBytes)
	switch {
	case err != nil:
		return reading{problems: []Problem{{File: path, Message: files.Reason(err)}}}
	case len(list)+len(failures) == 0:
		return reading{problems: []Problem{{File: path, Message: "the folder holds no *.yaml file"}}}
	}
	r := reading{files: list}
	for _, f := range failures {
		r.problems = append(r.problems, Problem{File: f.Name, Message: files.Reason(f.Err)})
	}
	return r
}

type loader struct {
	options    Options
	history    *history
	parts      []*part
	problems   []Problem
	settings   []Setting
	overridden map[string]Problem   // globals that do not come from a file, by path: where they come from
	globalsIn  map[string]*document // where the top-level keys of the globals stand
	sound      []*translate.Service // nothing is wrong with each of them alone
	origins    []*candidate         // of the sound services
	files      certificates.Files
	selfSigned bool // a service has a certificate that nobody has configured
}

func newLoader(o Options, h *history) *loader {
	return &loader{
		options: o, history: h, overridden: map[string]Problem{}, globalsIn: map[string]*document{}, files: certificates.Files{},
	}
}

func (l *loader) load(r reading) (*Loaded, []Problem) {
	o := l.options
	out := &Loaded{read: r, history: l.history}
	l.problems = slices.Clone(r.problems)
	for _, f := range r.files {
		out.Files = append(out.Files, f.Name)
	}
	l.parts = l.history.recall(r.files)
	if len(o.Services) > 0 {
		d := &document{
			file: "command line", decoder: newDecoder(&l.history.shapes, nil), words: l.history.words, config: settings.Config{Services: slices.Clone(o.Services)},
		}
		p := &part{documents: []*document{d}}
		p.list(d)
		l.parts = append(l.parts, p)
	}
	for _, p := range l.parts {
		l.problems = append(l.problems, p.problems...)
	}
	l.globals(&out.Globals)
	l.services(out)
	out.Settings = l.values(&out.Globals)
	// Conflicts are looked for even where something else is wrong, among the services that are not.
	in := translate.Input{Globals: out.Globals, Contents: l.contents(&out.Globals), Services: l.sound}
	for path, c := range in.Contents {
		if c.Problem != "" {
			l.problems = append(l.problems, l.globalProblem(path+".file", c.Problem))
		}
	}
	var found []translate.Problem
	out.Contents = in.Contents
	out.Snapshot, found = l.history.translation.Translate(in)
	for _, p := range found {
		if p.Reference() && o.CheckOnly && l.origins[p.Service].document.object {
			continue
		}
		l.problems = append(l.problems, l.translated(p))
	}
	if len(l.problems) > 0 {
		return nil, arrange(l.problems)
	}
	out.files, out.selfSigned = l.files, l.selfSigned
	return out, nil
}

// documents are those of all parts.
func (l *loader) documents(yield func(*document) bool) {
	for _, p := range l.parts {
		for _, d := range p.documents {
			if !yield(d) {
				return
			}
		}
	}
}

// globals merges the documents' globals, of which each may stand in one only, and puts the rest of the sources on top.
func (l *loader) globals(g *settings.Globals) {
	for _, p := range l.parts {
		if p.globals {
			l.merge(p, g)
		}
	}
	l.override(g)
	defaults.Globals(g)
	for _, e := range validation.Globals(g, nil) {
		l.problems = append(l.problems, l.globalProblem(e.Field, e.Detail))
	}
}

// merge adds the globals of one file.
func (l *loader) merge(p *part, g *settings.Globals) {
	for _, d := range p.documents {
		if d.object {
			continue
		}
		from := reflect.ValueOf(&d.config.Globals).Elem()
		for _, f := range l.history.shapes.Of(from.Type()).Fields {
			at, there := d.decoder.places[f.JSON]
			if !there {
				continue
			}
			if holder := l.globalsIn[f.JSON]; holder != nil {
				p := d.problem(f.JSON, fmt.Sprintf("is set at %s already; keep one of them", holder.problem(f.JSON, "").place()))
				p.Line, p.Column = at.line, at.column
				l.problems = append(l.problems, p)
				continue
			}
			l.globalsIn[f.JSON] = d
			reflect.ValueOf(g).Elem().FieldByIndex(f.Index).Set(from.FieldByIndex(f.Index))
		}
	}
}

// globalProblem places a problem of a global: at its variable, its flag, its field, or nowhere for a default.
func (l *loader) globalProblem(path, message string) Problem {
	whole, _, _ := strings.Cut(path, "[") // a variable holds all of a list
	if p, ok := l.overridden[whole]; ok {
		p.Message = message
		return p
	}
	top, _, _ := strings.Cut(path, ".")
	if d := l.globalsIn[top]; d != nil {
		return d.problem(path, message)
	}
	return Problem{Path: shape.FilePath(path), Message: message}
}

// services lists the parts' services, and finds what they name.
func (l *loader) services(out *Loaded) {
	n := 0
	for _, p := range l.parts {
		n += len(p.services)
	}
	names := make(map[string]*candidate, n)
	out.Services = make([]*translate.Service, 0, n)
	l.origins = make([]*candidate, 0, n)
	for _, p := range l.parts {
		for _, c := range p.services {
			first, again := names[c.service.Owner()]
			if again && c.service.Name != "" {
				at := c.name()
				at.Message = fmt.Sprintf("duplicate service name `%s`; the first is at %s", c.service.Owner(), first.name().place())
				l.problems = append(l.problems, c.document.spellFlags(at))
			} else {
				names[c.service.Owner()] = c
			}
			if !c.sound || again {
				continue
			}
			service := &c.service
			if c.refers { // what it names may be another the next time
				complete := c.service
				service = &complete
				l.complete(service)
			}
			out.Services = append(out.Services, service)
			l.origins = append(l.origins, c)
		}
	}
	l.sound = out.Services // where one is not, nothing is loaded
	if n > validation.MaxServices() {
		p := l.lastDocument().problem("services", fmt.Sprintf("must have at most %d items, has %d", validation.MaxServices(), n))
		l.problems = append(l.problems, p)
	}
	if l.options.GlobalsOnly {
		for d := range l.documents {
			if len(d.config.Services) > 0 {
				at := d.problem("services", "is not allowed here: in a cluster services are ProxyService objects")
				l.problems = append(l.problems, at)
			}
		}
		return
	}
	if n == 0 && len(l.problems) == 0 {
		p := Problem{File: l.options.Path, Path: "services", Message: "must hold at least one service"}
		if len(out.Files) == 1 {
			p.File, p.Line, p.Column = out.Files[0], 1, 1
		}
		l.problems = append(l.problems, p)
	}
}

func (l *loader) lastDocument() (last *document) {
	for d := range l.documents {
		last = d
	}
	return last
}

// spellFlags names the flags that a service without a file is made of.
func (d *document) spellFlags(p Problem) Problem {
	if d.file != "command line" {
		return p
	}
	p.Line, p.Column = 0, 0
	switch {
	case strings.Contains(p.Path, ".bind_address"):
		p.Path = "--listen"
	case strings.Contains(p.Path, ".upstreams"):
		p.Path = "--upstream"
	}
	return p
}

// translated places a problem of the translation, with the place of what stands in its way.
func (l *loader) translated(p translate.Problem) Problem {
	at := l.origins[p.Service]
	path := at.document.path(at.index).String()
	out := at.document.spellFlags(at.document.problem(join(path, p.Field), p.Message))
	if !p.Conflict() {
		return out
	}
	var other Problem
	if p.Holder < 0 {
		other = l.globalProblem(p.HolderField, "")
	} else {
		holder := l.origins[p.Holder]
		other = holder.document.spellFlags(holder.document.problem(join(holder.document.path(holder.index).String(), p.HolderField), ""))
	}
	if place := other.place(); place != "" {
		out.Message += " (" + place + ")"
	}
	return out
}

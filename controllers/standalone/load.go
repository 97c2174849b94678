package standalone

import (
	"crypto/sha256"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
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
	Services []translate.Service
	Settings []Setting // the globals one by one, with their origins
	Snapshot *snapshot.Snapshot
	Files    []string // that it was read from

	digest   [sha256.Size]byte
	Contents map[string]material.Content // what references of the globals name

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
	contents, problems := read(o.Path)
	return newLoader(o, problems).load(contents)
}

// LoadBytes reads a configuration from the content of one file, which it calls by the name.
func LoadBytes(name string, data []byte, o Options) (*Loaded, []Problem) {
	return newLoader(o, nil).load([]content{{name, data}})
}

type content struct {
	name string
	data []byte
}

// read reads the file, or the files of the folder in the order of their names.
func read(path string) ([]content, []Problem) {
	if path == "" {
		return nil, nil
	}
	names := []string{path}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		names, err = files.In(path)
		if err == nil && len(names) == 0 {
			return nil, []Problem{{File: path, Message: "the folder holds no *.yaml file"}}
		}
	}
	if err != nil {
		return nil, []Problem{{File: path, Message: files.Reason(err)}}
	}
	var out []content
	var problems []Problem
	for _, name := range names {
		data, err := files.Read(name, tree.MaxFileBytes)
		if err != nil {
			problems = append(problems, Problem{File: name, Message: files.Reason(err)})
			continue
		}
		out = append(out, content{name, data})
	}
	return out, problems
}

func digest(contents []content) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range contents {
		fmt.Fprintf(h, "%d %s %d\n", len(c.name), c.name, len(c.data))
		h.Write(c.data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

type loader struct {
	options    Options
	shapes     *shapes
	documents  []*document
	problems   []Problem
	settings   []Setting
	overridden map[string]Problem   // globals that do not come from a file, by path: where they come from
	globalsIn  map[string]*document // where the top-level keys of the globals stand
	sound      []translate.Service  // nothing is wrong with each of them alone
	origins    []origin             // of the sound services
	files      certificates.Files
	selfSigned bool
}

// origin is where a service stands.
type origin struct {
	document *document
	index    int
}

func newLoader(o Options, problems []Problem) *loader {
	return &loader{
		options: o, shapes: &shapes{}, problems: problems,
		overridden: map[string]Problem{}, globalsIn: map[string]*document{}, files: certificates.Files{},
	}
}

func (l *loader) load(contents []content) (*Loaded, []Problem) {
	o := l.options
	out := &Loaded{digest: digest(contents)}
	words := map[string]bool{}
	l.shapes.words(reflect.TypeFor[settings.Config](), words)
	for _, c := range contents {
		out.Files = append(out.Files, c.name)
		docs, f := tree.Parse(c.data)
		if f != nil {
			l.problems = append(l.problems, Problem{File: c.name, Line: f.At.Line, Column: f.At.Column, Message: f.Message})
			continue
		}
		for _, node := range docs {
			if d := readDocument(l.shapes, words, c.name, node); d != nil {
				l.problems = append(l.problems, d.faults()...)
				l.documents = append(l.documents, d)
			}
		}
	}
	if len(o.Services) > 0 {
		d := &document{file: "command line", decoder: newDecoder(l.shapes, nil), words: words, config: settings.Config{Services: o.Services}}
		l.documents = append(l.documents, d)
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
	out.Snapshot, found = translate.Translate(in)
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

// globals merges the documents' globals, of which each may stand in one only, and puts the rest of the sources on top.
func (l *loader) globals(g *settings.Globals) {
	for _, d := range l.documents {
		if d.object {
			continue
		}
		from := reflect.ValueOf(&d.config.Globals).Elem()
		for _, f := range l.shapes.of(from.Type()).fields {
			at, there := d.decoder.places[f.json]
			if !there {
				continue
			}
			if holder := l.globalsIn[f.json]; holder != nil {
				p := d.problem(f.json, fmt.Sprintf("is set at %s already; keep one of them", holder.problem(f.json, "").place()))
				p.Line, p.Column = at.line, at.column
				l.problems = append(l.problems, p)
				continue
			}
			l.globalsIn[f.json] = d
			reflect.ValueOf(g).Elem().FieldByIndex(f.index).Set(from.FieldByIndex(f.index))
		}
	}
	l.override(g)
	defaults.Globals(g)
	for _, e := range validation.Globals(g, nil) {
		l.problems = append(l.problems, l.globalProblem(e.Field, e.Detail))
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
	return Problem{Path: filePath(path), Message: message}
}

// services lists the documents' services, completed and checked.
func (l *loader) services(out *Loaded) {
	names := map[string]Problem{}
	for _, d := range l.documents {
		from := v1alpha1.FromFile
		if d.object {
			from = v1alpha1.FromCluster
		}
		for i := range d.config.Services {
			spec := &d.config.Services[i]
			defaults.Service(spec, from)
			wrong := d.validate(i, from)
			for _, p := range wrong {
				l.problems = append(l.problems, d.spellFlags(p))
			}
			s := d.entry(i)
			at := d.problem(d.path(i).Child("name").String(), "")
			if d.object {
				at = d.problem("metadata.name", "")
			}
			first, again := names[s.Owner()]
			if again && s.Name != "" {
				at.Message = fmt.Sprintf("duplicate service name `%s`; the first is at %s", s.Owner(), first.place())
				l.problems = append(l.problems, d.spellFlags(at))
			} else {
				names[s.Owner()] = at
			}
			sound := len(wrong) == 0 && !again && !d.faulty(i)
			if sound {
				l.complete(&s)
			}
			out.Services = append(out.Services, s)
			if sound {
				l.sound = append(l.sound, s)
				l.origins = append(l.origins, origin{d, i})
			}
		}
	}
	if n := len(out.Services); n > validation.MaxServices() {
		p := l.documents[len(l.documents)-1].problem("services", fmt.Sprintf("must have at most %d items, has %d", validation.MaxServices(), n))
		l.problems = append(l.problems, p)
	}
	if l.options.GlobalsOnly {
		for _, d := range l.documents {
			if len(d.config.Services) > 0 {
				at := d.problem("services", "is not allowed here: in a cluster services are ProxyService objects")
				l.problems = append(l.problems, at)
			}
		}
		return
	}
	if len(out.Services) == 0 && len(l.problems) == 0 {
		p := Problem{File: l.options.Path, Path: "services", Message: "must hold at least one service"}
		if len(out.Files) == 1 {
			p.File, p.Line, p.Column = out.Files[0], 1, 1
		}
		l.problems = append(l.problems, p)
	}
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

package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const preamble = `<!-- Written by go generate from the types in api/v1alpha1. Do not edit. -->
# Configuration

The standalone file is YAML 1.2. It holds the globals of the process and a list of ` + "`services`" + `:

` + "```yaml" + `
admin: {bind_address: '127.0.0.1:9901'}
services:
  - name: 'admin-portal'
    bind_address: '0.0.0.0:6188'
    upstreams:
      - '127.0.0.1:3002'
    health_check:
      timeout_ms: 500
      frequency_secs: 5
` + "```" + `

- Keys are written in snake_case in the file and in camelCase in a custom resource; the file accepts both, but not both
  spellings of one key. Keys of your own (header names) stay as they are.
- Unknown keys, keys that are there twice and values of the wrong type are errors. All problems of a file are reported,
  each with its line and column.
- Durations are integers with their unit in the name: ` + "`_ms`, `_secs`" + `.
- A file may hold ` + "`kind: ProxyService`" + ` objects as well, several with ` + "`---`" + ` between them. One object is one service, named
  by its metadata unless ` + "`spec.name`" + ` is set.
- Where the configuration is a folder, its ` + "`*.yaml`" + ` files are read together. Each global may stand in one of them only.
- Nothing is substituted inside values: ` + "`${…}`" + ` has no meaning to the reader of the file.
- Each global has an environment variable. A flag beats the environment, which beats the file, which beats the default.
  ` + "`--validate -v`" + ` prints where each came from.
- Editors can check and complete the file with [the JSON Schema](pingora-proxy.schema.json): put
  ` + "`# yaml-language-server: $schema=…/pingora-proxy.schema.json`" + ` into its first line.
`

// section is one object of the file with the places where it may stand.
type section struct {
	name   string
	places []string
}

// sections lists the structs in the order in which a reader meets them.
func (m *model) sections() []*section {
	var out []*section
	var visit func(name, place string)
	visit = func(name, place string) {
		i := slices.IndexFunc(out, func(s *section) bool { return s.name == name })
		if i < 0 {
			out = append(out, &section{name: name})
			i = len(out) - 1
		}
		out[i].places = append(out[i].places, place)
		for _, f := range m.fieldsOf(name) {
			if m.structs[f.typ.name] == nil {
				continue
			}
			at := f.file()
			if place != "" {
				at = place + "." + at
			}
			if f.typ.list {
				at += "[]"
			}
			visit(f.typ.name, at)
		}
	}
	visit("Config", "")
	return out
}

// markdown writes the configuration reference.
func markdown(m *model) []byte {
	var b bytes.Buffer
	b.WriteString(preamble)
	list := m.sections()
	for _, s := range list {
		title := "The file"
		if s.places[0] != "" {
			title = "`" + strings.Join(s.places, "`, `") + "`"
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if s.name != "Config" {
			fmt.Fprintf(&b, "%s\n\n", s.text(m.structs[s.name].doc))
		}
		global := m.global(s.name)
		head := []string{"Key", "In a custom resource", "Type", "Default", "Bounds", "What it does", "Example"}
		if global {
			head[1] = "Environment variable"
		}
		row(&b, head)
		row(&b, slices.Repeat([]string{"---"}, len(head)))
		for _, f := range m.fieldsOf(s.name) {
			second := "`" + f.json + "`"
			if global {
				second = "`PINGORA_" + strings.ToUpper(strings.ReplaceAll(s.places[0], ".", "_")+"_"+f.file()) + "`"
			}
			if s.name == "Config" {
				second = "–"
			}
			row(&b, []string{
				"`" + f.file() + "`", second, m.typeText(f, list), m.defaultText(f), m.boundsText(f), f.text(), m.exampleText(f),
			})
		}
	}
	return b.Bytes()
}

// text is a type's comment, about its key in place of the type.
func (s *section) text(doc string) string {
	rest, ok := strings.CutPrefix(doc, s.name+" ")
	if !ok {
		return doc
	}
	key := s.places[0][strings.LastIndexByte(s.places[0], '.')+1:]
	if strings.HasSuffix(key, "[]") {
		return "An entry of `" + strings.TrimSuffix(key, "[]") + "` " + rest
	}
	return "`" + key + "` " + rest
}

func row(b *bytes.Buffer, cells []string) {
	for _, c := range cells {
		b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}

var notInAnchors = regexp.MustCompile("[^a-z0-9 _-]")

func anchor(s *section) string {
	title := strings.Join(s.places, ", ")
	return "#" + strings.ReplaceAll(notInAnchors.ReplaceAllString(title, ""), " ", "-")
}

func (m *model) typeText(f *fieldType, list []*section) string {
	text := map[string]string{"int32": "integer", "int64": "integer", "bool": "boolean", "string": "string", "IntOrString": "integer or string"}[f.typ.name]
	if m.structs[f.typ.name] != nil {
		i := slices.IndexFunc(list, func(s *section) bool { return s.name == f.typ.name })
		text = "[object](" + anchor(list[i]) + ")"
	}
	if e, ok := m.enums[f.typ.name]; ok {
		text = "`" + strings.Join(e.values, "`, `") + "`"
	}
	switch {
	case f.typ.list:
		return "list of " + text
	case f.typ.dict:
		return "map of " + text
	}
	return text
}

func (m *model) defaultText(f *fieldType) string {
	if d, ok := m.defaults[f.owner+"."+f.json]; ok {
		return fmt.Sprintf("`%v`", d)
	}
	if f.required {
		return "required"
	}
	if f.owner == "ProxyServiceSpec" && f.json == "name" {
		return "required in a file; else the object's name"
	}
	return "unset"
}

func (m *model) boundsText(f *fieldType) string {
	var parts []string
	if f.maxItems > 0 {
		parts = append(parts, fmt.Sprintf("at most %d items", f.maxItems))
	}
	if f.maxProperties > 0 {
		parts = append(parts, fmt.Sprintf("at most %d entries", f.maxProperties))
	}
	for _, l := range []limits{f.limits, f.items} {
		if l.min != nil && l.max != nil {
			parts = append(parts, fmt.Sprintf("%d to %d", *l.min, *l.max))
		}
		if l.maxLength > 0 {
			parts = append(parts, fmt.Sprintf("at most %d characters", l.maxLength))
		}
	}
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, ", ")
}

// exampleText shows the field as it stands in a file: with the marker's value, else with the second of its enumeration,
// else with its default.
func (m *model) exampleText(f *fieldType) string {
	value := f.example
	if values := m.enums[f.typ.name].values; value == "" && len(values) > 0 {
		value = values[min(1, len(values)-1)]
	}
	if d, ok := m.defaults[f.owner+"."+f.json]; ok && value == "" {
		value = fmt.Sprint(d)
	}
	if value == "" {
		return "–"
	}
	if f.typ.list {
		value = "[" + strings.TrimSuffix(strings.TrimPrefix(value, "{"), "}") + "]"
	}
	return "`" + f.file() + ": " + strings.ReplaceAll(value, `"`, "'") + "`"
}

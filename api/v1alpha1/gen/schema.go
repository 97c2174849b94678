package main

import (
	"encoding/json"
	"strconv"
	"strings"
)

type object = map[string]any

// jsonSchema writes the schema of a standalone file, which holds either the globals and services, in snake_case, or
// ProxyService objects, in camelCase.
func jsonSchema(m *model) ([]byte, error) {
	defs := object{}
	for name := range m.structs {
		defs["file."+name] = m.objectSchema(name, "file.")
		if name != "Config" && name != "Globals" && !m.global(name) {
			defs["object."+name] = m.objectSchema(name, "object.")
		}
	}
	for name, e := range m.enums {
		defs[name] = e.schema()
	}
	delete(defs, "file.Globals")
	defs["ProxyService"] = object{
		"type":                 "object",
		"description":          "A ProxyService object, as kubectl prints it.",
		"required":             []string{"apiVersion", "kind", "metadata", "spec"},
		"additionalProperties": false,
		"properties": object{
			"apiVersion": object{"const": "pingora-proxy.dev/v1alpha1"},
			"kind":       object{"const": "ProxyService"},
			"metadata": object{
				"type":       "object",
				"required":   []string{"name"},
				"properties": object{"name": object{"type": "string"}, "namespace": object{"type": "string"}},
			},
			"spec":   object{"$ref": "#/$defs/object.ProxyServiceSpec"},
			"status": object{"type": "object"},
		},
	}
	root := object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://pingora-proxy.dev/schemas/pingora-proxy.schema.json",
		"title":       "pingora-proxy configuration",
		"description": "The standalone configuration file of pingora-proxy.",
		"if":          object{"type": "object", "required": []string{"kind"}},
		"then":        object{"$ref": "#/$defs/ProxyService"},
		"else":        object{"$ref": "#/$defs/file.Config"},
		"$defs":       defs,
	}
	text, err := json.MarshalIndent(root, "", "  ")
	return append(text, '\n'), err
}

// global says whether a struct belongs to the globals alone, which no ProxyService holds.
func (m *model) global(name string) bool {
	for _, f := range m.structs["Globals"].fields {
		if f.typ.name == name {
			return true
		}
	}
	return false
}

func (m *model) objectSchema(name, prefix string) object {
	s := m.structs[name]
	properties, required := object{}, []string{}
	for _, f := range m.fieldsOf(name) {
		key := f.json
		if prefix == "file." {
			key = f.file()
		}
		properties[key] = m.fieldSchema(f, prefix)
		// A service's name comes from its metadata in an object, and must be written in a file.
		if f.required || name == "ProxyServiceSpec" && f.json == "name" && prefix == "file." {
			required = append(required, key)
		}
	}
	out := object{"type": "object", "description": s.doc, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if s.oneOf {
		out["minProperties"], out["maxProperties"] = 1, 1
	}
	return out
}

func (m *model) fieldSchema(f *fieldType, prefix string) object {
	value := m.valueSchema(f.typ.name, prefix)
	outer := value
	switch {
	case f.typ.list:
		f.items.apply(value)
		outer = object{"type": "array", "items": value}
		if f.maxItems > 0 {
			outer["maxItems"] = f.maxItems
		}
	case f.typ.dict:
		outer = object{"type": "object", "additionalProperties": value}
		if f.maxProperties > 0 {
			outer["maxProperties"] = f.maxProperties
		}
	default:
		f.limits.apply(value)
	}
	outer["description"] = f.text()
	if d, ok := m.defaults[f.owner+"."+f.json]; ok {
		outer["default"] = d
	}
	return outer
}

func (m *model) valueSchema(name, prefix string) object {
	switch {
	case m.structs[name] != nil:
		return object{"$ref": "#/$defs/" + prefix + name}
	case m.enums[name].values != nil:
		return object{"$ref": "#/$defs/" + name}
	case name == "IntOrString":
		return object{"type": []string{"integer", "string"}}
	case name == "int32", name == "int64":
		return object{"type": "integer"}
	case name == "bool":
		return object{"type": "boolean"}
	}
	return object{"type": "string"}
}

func (e enumType) schema() object {
	values := make([]any, len(e.values))
	for i, v := range e.values {
		values[i] = v
		if n, err := strconv.Atoi(v); err == nil && e.base == "int32" {
			values[i] = n
		}
	}
	return object{"description": e.doc, "enum": values}
}

func (l limits) apply(o object) {
	if l.min != nil {
		o["minimum"] = *l.min
	}
	if l.max != nil {
		o["maximum"] = *l.max
	}
	if l.maxLength > 0 {
		o["maxLength"] = l.maxLength
	}
}

// text is the field's comment, beginning with its key where the Go name is no English word.
func (f *fieldType) text() string {
	rest, ok := strings.CutPrefix(f.doc, f.goName)
	if !ok || strings.ToLower(f.goName[1:]) == f.goName[1:] {
		return f.doc
	}
	return "`" + f.file() + "`" + rest
}

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const fixtures = "../../../test/fixtures/config/"

func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is old: run go generate ./api/...\n%s", name, diff)
		}
	}
}

func TestReferenceNamesEveryField(t *testing.T) {
	m, err := parse("..")
	if err != nil {
		t.Fatal(err)
	}
	text := string(markdown(m))
	fields := 0
	for _, s := range m.structs {
		for _, f := range s.fields {
			if f.inline {
				continue
			}
			fields++
			if !strings.Contains(text, "| `"+f.file()+"` |") {
				t.Errorf("%s.%s is missing", s.name, f.json)
			}
			scalar := m.structs[f.typ.name] == nil
			if scalar && m.exampleText(f) == "–" {
				t.Errorf("%s.%s has no example", s.name, f.json)
			}
		}
	}
	if fields < 60 {
		t.Errorf("only %d fields were found", fields)
	}
	for _, want := range []string{"`PINGORA_ADMIN_BIND_ADDRESS`", "`127.0.0.1:9901`", "1 to 600000"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// documents decodes a fixture as an editor does.
func documents(t *testing.T, text string) []any {
	t.Helper()
	var out []any
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var v any
		if err := dec.Decode(&v); err != nil {
			return out
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}

func schema(t *testing.T) checker {
	t.Helper()
	text, err := os.ReadFile("../../../docs/pingora-proxy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	return checker{root}
}

func TestSchemaAcceptsFixtures(t *testing.T) {
	c := schema(t)
	for _, name := range []string{"seed.yaml", "full.yaml", "../../../config/default.yaml", "../../../config/development.yaml", "../../../config/production.yaml"} {
		text, err := os.ReadFile(fixtures + name)
		if err != nil {
			t.Fatal(err)
		}
		docs := documents(t, string(text))
		if len(docs) != 1 {
			t.Fatalf("%s: %d documents", name, len(docs))
		}
		if err := c.check(c.root, docs[0], ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	object := "apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: a}\nspec: {bindAddress: ':80', healthCheck: {timeoutMs: 5}, upstreams: ['a:80']}\n"
	if err := c.check(c.root, documents(t, object)[0], ""); err != nil {
		t.Error(err)
	}
}

func TestSchemaRefuses(t *testing.T) {
	const head = "services: [{name: a, bind_address: ':80', upstreams: ['a:80']"
	for name, c := range map[string]struct{ text, want string }{
		"unknown":        {head + ", upstream: a}]", ".services[0].upstream: unknown"},
		"missing":        {"services: [{name: a}]", ".services[0].bind_address: missing"},
		"nameless":       {"services: [{bind_address: ':80'}]", ".services[0].name: missing"},
		"enum":           {head + ", health_check: {type: tcp}}]", ".services[0].health_check.type: not in enum"},
		"low":            {head + ", health_check: {timeout_ms: 0}}]", ".services[0].health_check.timeout_ms: below minimum"},
		"high":           {head + ", health_check: {timeout_ms: 700000}}]", ".services[0].health_check.timeout_ms: above maximum"},
		"type":           {head + ", tls: 'no'}]", ".services[0].tls: not boolean"},
		"no filter":      {head + ", routes: [{name: r, filters: [{}]}]}]", ".services[0].routes[0].filters[0]: too few"},
		"two filters":    {head + ", routes: [{name: r, filters: [{rewrite: {}, redirect: {}}]}]}]", ".services[0].routes[0].filters[0]: too many"},
		"object's keys":  {"kind: ProxyService\napiVersion: pingora-proxy.dev/v1alpha1\nmetadata: {name: a}\nspec: {bind_address: ':80'}", ".spec.bind_address: unknown"},
		"object's kinds": {"kind: Service\napiVersion: v1\nmetadata: {name: a}\nspec: {bindAddress: ':80'}", ".apiVersion: not the constant"},
	} {
		t.Run(name, func(t *testing.T) {
			k := schema(t)
			err := k.check(k.root, documents(t, c.text)[0], "")
			if err == nil || err.Error() != c.want {
				t.Errorf("want %s, got %v", c.want, err)
			}
		})
	}
}

// A checker knows as much of JSON Schema 2020-12 as the schema uses.
type checker struct{ root map[string]any }

func (c checker) check(s map[string]any, v any, at string) error {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if err := c.keyword(s, key, s[key], v, at); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) keyword(s map[string]any, key string, arg, v any, at string) error {
	number, isNumber := v.(float64)
	text, isText := v.(string)
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	fail := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%s: %s", at, what)
	}
	limit, _ := arg.(float64)
	switch key {
	case "$schema", "$id", "$defs", "title", "description", "default", "then", "else":
		return nil
	case "$ref":
		var target any = c.root
		for _, part := range strings.Split(strings.TrimPrefix(arg.(string), "#/"), "/") {
			target = target.(map[string]any)[part]
		}
		return c.check(target.(map[string]any), v, at)
	case "if":
		branch := "then"
		if c.check(arg.(map[string]any), v, at) != nil {
			branch = "else"
		}
		return c.check(s[branch].(map[string]any), v, at)
	case "type":
		_, isBool := v.(bool)
		return fail(map[string]bool{
			"object": isObject, "array": isList, "string": isText, "boolean": isBool, "integer": isNumber && number == float64(int64(number)),
		}[arg.(string)], "not "+arg.(string))
	case "const":
		return fail(v == arg, "not the constant")
	case "enum":
		return fail(slices.Contains(arg.([]any), v), "not in enum")
	case "minimum":
		return fail(number >= limit, "below minimum")
	case "maximum":
		return fail(number <= limit, "above maximum")
	case "maxLength":
		return fail(len([]rune(text)) <= int(limit), "too long")
	case "maxItems":
		return fail(len(list) <= int(limit), "too long")
	case "minProperties":
		return fail(len(object) >= int(limit), "too few")
	case "maxProperties":
		return fail(len(object) <= int(limit), "too many")
	case "items":
		for i, item := range list {
			if err := c.check(arg.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case "required":
		for _, name := range arg.([]any) {
			if _, ok := object[name.(string)]; !ok {
				return fmt.Errorf("%s.%s: missing", at, name)
			}
		}
		return nil
	case "properties":
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if p, ok := arg.(map[string]any)[name]; ok {
				if err := c.check(p.(map[string]any), object[name], at+"."+name); err != nil {
					return err
				}
			}
		}
		return nil
	case "additionalProperties":
		known, _ := s["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if _, ok := known[name]; ok {
				continue
			}
			if arg == false {
				return fmt.Errorf("%s.%s: unknown", at, name)
			}
			if err := c.check(arg.(map[string]any), object[name], at+"."+name); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("the checker does not know %q", key)
}

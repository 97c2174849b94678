package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	t.Parallel()
	files, err := generate(chart, fileSchema)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(chart, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s is out of date; run 'make generate' (-file +generated):\n%s", name, cmp.Diff(string(got), string(want)))
		}
	}
}

func TestReadme(t *testing.T) {
	t.Parallel()
	page, err := readme([]byte(`# About the file.

## First
# Two
# lines.
plain: 1
group:
  # In a group, a|b.
  list:
    - {key: value}
    - other: {}
      more: 2
  # Unset.
  none: null

## Second
# A whole map.
whole:
  a: {b: c}
# A map in which one value
# has more to say.
partly:
  a: 1
  # Much more.
  b: 2
`))
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(page), "\n## ")
	const want = "First\n\n| value | default | |\n|---|---|---|\n" +
		"| `plain` | `1` | Two lines. |\n" +
		"| `group.list` | `[{\"key\":\"value\"},{\"more\":2,\"other\":{}}]` | In a group, a\\|b. |\n" +
		"| `group.none` | unset | Unset. |\n" +
		"\n## Second\n\n| value | default | |\n|---|---|---|\n" +
		"| `whole` | `{\"a\":{\"b\":\"c\"}}` | A whole map. |\n" +
		"| `partly` |  | A map in which one value has more to say. |\n" +
		"| `partly.b` | `2` | Much more. |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestReadmeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ values, says string }{
		"a value without a comment":   {"# One.\na: 1\nb: 2\n# Three.\nc: 3\n", "line 3: the value has no comment"},
		"the last one without":        {"# One.\na: 1\nb: 2\n", "line 3: the value has no comment"},
		"one in a group":              {"g:\n  # One.\n  a: 1\n  b: 2\n  # Three.\n  c: 3\n", "line 4: the value has no comment"},
		"a comment that lies apart":   {"# One.\n\na: 1\n", "line 3: the value has no comment"},
		"a group without any comment": {"g:\n  a: 1\n# Two.\nb: 2\n", "line 2: the value has no comment"},
		"something else":              {"# One.\na: 1\n\"b\": 2\n", "line 3: neither a comment nor a key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := readme([]byte(c.values))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q in it; page:\n%s", err, c.says, page)
			}
		})
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	const file = `{"$defs": {
		"file.Config": {"type": "object", "properties": {"log": {"$ref": "#/$defs/file.Log"}, "services": {"$ref": "#/$defs/file.Service"}}},
		"file.Log": {"properties": {"format": {"anyOf": [{"$ref": "#/$defs/Format"}]}}},
		"file.Service": {}, "Format": {"enum": ["<JSON>"]}}}`
	const own = `{"$defs": {"config.Old": {}, "port": {"minimum": 1}}, "properties": {"config": {"$ref": "#/$defs/config.Globals"}}}`
	const want = `{
  "$defs": {
    "config.Format": {
      "enum": [
        "<JSON>"
      ]
    },
    "config.Globals": {
      "description": "The settings of the whole process.",
      "properties": {
        "log": {
          "$ref": "#/$defs/config.Log"
        }
      },
      "type": "object"
    },
    "config.Log": {
      "properties": {
        "format": {
          "anyOf": [
            {
              "$ref": "#/$defs/config.Format"
            }
          ]
        }
      }
    },
    "port": {
      "minimum": 1
    }
  },
  "properties": {
    "config": {
      "$ref": "#/$defs/config.Globals"
    }
  }
}
`
	got, err := schema([]byte(own), []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
	again, err := schema(got, []byte(file))
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("a second run changes it: %v\n%s", err, cmp.Diff(string(got), string(again)))
	}
	if _, err := schema([]byte(own), []byte(`{"$defs": {"file.Config": {"$ref": "#/$defs/gone"}}}`)); err == nil {
		t.Error("a reference that leads nowhere was taken")
	}
}

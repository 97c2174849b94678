package tree

import (
	"strings"
	"testing"
)

// TestEmptyDocuments: what stands behind a document without anything in it is read.
func TestEmptyDocuments(t *testing.T) {
	for _, text := range []string{
		"---\n---\na: 1\n", "---\n\n---\na: 1\n", "---\n# nothing\n---\na: 1\n", "---\n---\n---\na: 1\n---\nb: 1\n",
		"---\nb: 1\n---\n---\n---\na: 1\n", "# nothing\n---\n---\n# nothing\n---\na: 1\n---\n", "b: 1\n...\n---\n---\na: 1\n",
	} {
		docs, f := Parse([]byte(text))
		if f != nil {
			t.Errorf("%q: %+v", text, f)
		}
		var found strings.Builder
		for _, d := range docs {
			if d.Body != nil {
				found.WriteString(d.Body.String())
			}
		}
		for _, want := range []string{"a: 1", "b: 1"} {
			if strings.Contains(text, want) && !strings.Contains(found.String(), want) {
				t.Errorf("%q: `%s` was not read: %q", text, want, found.String())
			}
		}
	}
}

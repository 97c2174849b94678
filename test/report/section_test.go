package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/report"
)

// Each section is replaced without a change of the other one and of what stands around them.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	page := func(a, b string) string {
		return "# Page\n\n<!-- a:begin -->\n" + a + "<!-- a:end -->\nbetween\n<!-- b:begin -->\n" + b + "<!-- b:end -->\n\nend\n"
	}
	read := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := os.WriteFile(path, []byte(page("old\n", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report.Replace(path, "b", "two\nlines"); err != nil {
		t.Fatal(err)
	}
	if err := report.Replace(path, "a", "new\n"); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != page("new\n", "two\nlines\n") {
		t.Error(got)
	}
	if content, err := report.Section(read(), "b"); err != nil || content != "two\nlines\n" {
		t.Errorf("%q %v", content, err)
	}
	before := read()
	if err := report.Replace(path, "c", "x"); err == nil || !strings.Contains(err.Error(), "<!-- c:begin -->") || read() != before {
		t.Errorf("%v: a section that is not there", err)
	}
}

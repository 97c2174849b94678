package reliability

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/report"
)

// section is the part of the page that is written here.
const section = "soak"

// A page is docs/reliability.md, as far as one run writes it.
type page struct {
	machine  string
	measured string // when, and which commit
}

const intro = `
Written by ` + "`make soak`" + `, which runs the program in a process of its own, with origins and clients on the same machine. One case alone: ` + "`make soak CASES=reloads`" + `,
with the names of the first column.

A request is *answered* when its client got a whole 200 that is an answer to this very request. It *failed* where the proxy could do no better and said so: with the status and the
` + "`reason`" + ` that the failure has, or with a body that is visibly cut short. Anything else is *lost*. No client repeats a request of its own accord. *Replayed* are POSTs of which origins, who write
down each id that reaches them, have received more than one.

| case | what happens | sent | answered | failed | lost | replayed | may fail or be lost | seen | measured |
|---|---|---:|---:|---:|---:|---:|---|---|---|
`

// write puts the rows of a scenario into the page, in place of its old ones. Rows of other scenarios stay, in the order of
// the list; those of scenarios that there are no more go.
func (p page) write(path string, s scenario, rows []row) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	old, err := report.Section(string(text), section)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return report.Replace(path, section, p.text(old, s, rows))
}

func (p page) text(old string, ran scenario, rows []row) string {
	var b strings.Builder
	b.WriteString(intro)
	for _, s := range scenarios {
		if s.name == ran.name {
			for _, row := range rows {
				b.WriteString(p.line(s, row))
			}
			continue
		}
		for line := range strings.Lines(old) {
			if strings.HasPrefix(line, first(s)) {
				b.WriteString(line)
			}
		}
	}
	fmt.Fprintf(&b, "\nThe last run, of `%s`, was on %s.\n\n", ran.name, p.machine)
	return b.String()
}

// first is how the lines of a scenario begin.
func first(s scenario) string { return "| `" + s.name + "` |" }

func (p page) line(s scenario, r row) string {
	title := s.title
	if r.what != "" {
		title += ": " + r.what
	}
	may := s.may
	if may == "" {
		may = "nothing"
	}
	return fmt.Sprintf("%s %s | %d | %d | %d | %s | %s | %s | %s | %s |\n",
		first(s), title, r.sent, r.answered, r.failed, count(r.lost), count(r.replayed), may, r.seen, p.measured)
}

// count makes what is not 0 stand out.
func count(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("**%d**", n)
}

// A run replaces the rows of its own case alone, and the rest of the page stays.
func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := scenarios[0]
	write("# Page\n<!-- soak:begin -->\n| `gone` | x |\n<!-- soak:end -->\nrest\n")
	if err := (page{machine: "a machine", measured: "day, abc"}).write(path, s, []row{
		{what: "over HTTP/1", sent: 5, answered: 3, failed: 1, lost: 1, seen: "much"}, {sent: 7, answered: 7},
	}); err != nil {
		t.Fatal(err)
	}
	want := "| `" + s.name + "` | " + s.title + ": over HTTP/1 | 5 | 3 | 1 | **1** | 0 | nothing | much | day, abc |\n" +
		"| `" + s.name + "` | " + s.title + " | 7 | 7 | 0 | 0 | 0 | nothing |  | day, abc |\n"
	check := func(wanted ...string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(wanted, "a machine", "\nrest\n", "# Page\n") {
			if strings.Count(string(text), want) != 1 {
				t.Errorf("the page does not have %q once:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "gone") {
			t.Error("a case that there is no more has a row")
		}
	}
	check(want)
	if err := (page{machine: "a machine", measured: "day, abc"}).write(path, s, []row{{sent: 1, answered: 1}}); err != nil {
		t.Fatal(err)
	}
	check("| `" + s.name + "` | " + s.title + " | 1 | 1 | 0 | 0 | 0 | nothing |  | day, abc |\n")
}

// Every count that is not in order is seen.
func TestComplaints(t *testing.T) {
	for name, c := range map[string]struct {
		row  row
		want string
	}{
		"in order":       {row{sent: 4, answered: 2, failed: 1, lost: 1, mayFail: 1, mayLose: 1}, ""},
		"no bound":       {row{sent: 4, answered: 2, failed: 1, lost: 1, mayFail: -1, mayLose: -1}, ""},
		"nothing sent":   {row{}, "nothing is shown"},
		"none answered":  {row{sent: 1, failed: 1, mayFail: -1}, "nothing is shown"},
		"one is missing": {row{sent: 4, answered: 3}, "one is missing"},
		"lost":           {row{sent: 4, answered: 3, lost: 1, losses: []string{"GET x"}}, "GET x"},
		"failed":         {row{sent: 4, answered: 2, failed: 2, mayFail: 1}, "2 failed, 1 may"},
		"replayed":       {row{sent: 4, answered: 4, replayed: 1}, "1 requests were replayed"},
	} {
		all := strings.Join(c.row.complaints(), "\n")
		if c.want == "" && all != "" || c.want != "" && (!strings.Contains(all, c.want) || strings.Contains(all, "\n")) {
			t.Errorf("%s: %q, want %q alone", name, all, c.want)
		}
	}
}

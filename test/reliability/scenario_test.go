package reliability

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/report"
)

// A scenario is something that happens while requests run.
type scenario struct {
	// name is that of the test, and of the rows in the report.
	name string
	// title says what happens.
	title string
	// may says what may fail or be lost, and why; "" is nothing.
	may string
	// alone says that the short form does not run beside others: it fills the machine.
	alone bool
	run   func(t *testing.T, r *run)
}

// A form is how the cases are run: as a part of the tests, or for the report.
type form struct {
	long   bool
	scale  float64
	commit string
}

func newForm(t *testing.T) *form {
	t.Helper()
	f := &form{long: os.Getenv("SOAK") != "", scale: 1}
	if text := os.Getenv("SOAK_SCALE"); text != "" {
		var err error
		if f.scale, err = strconv.ParseFloat(text, 64); err != nil || f.scale <= 0 {
			t.Fatalf("SOAK_SCALE is %q: want a number above 0", text)
		}
	}
	if f.long {
		f.commit = commit(t)
	}
	return f
}

// commit names what is tried; -dirty says that the tree has more than that commit. What a run before has written into
// docs does not count.
func commit(t *testing.T) string {
	t.Helper()
	git := func(arguments ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", "../.."}, arguments...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	name := git("rev-parse", "--short", "HEAD")
	if name == "" {
		return "unknown"
	}
	if git("status", "--porcelain", "--", ".", ":!docs") != "" {
		name += "-dirty"
	}
	return name
}

// A run is one run of a scenario.
type run struct {
	*form
	alone bool

	mu   sync.Mutex // guards rows
	rows []row
}

// part runs a part of a case, which has a proxy of its own. The long form has one after the other; in the short one they run
// side by side, with each other and with other cases, because most of the time they wait.
func (r *run) part(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		if !r.long && !r.alone {
			t.Parallel()
		}
		f(t)
	})
}

// of is how many there are of something: in the short form, or in the long one.
func (r *run) of(short, long int) int {
	if !r.long {
		return short
	}
	return max(1, int(float64(long)*r.scale))
}

// A row is what became of the requests of one load. Sent is answered, failed and lost together.
type row struct {
	// what tells rows of a case apart: "over HTTP/2".
	what     string
	sent     int
	answered int
	// failed were answered with the right status and reason, or cut in a way that nobody can take for a whole answer, where the
	// proxy could do no better.
	failed   int
	lost     int
	replayed int
	// seen is what else was counted, in words.
	seen string

	// mayFail and mayLose bound failed and lost; below 0 is no bound.
	mayFail, mayLose int
	// losses are the first of those that were lost, in words.
	losses []string
}

// report takes a row, and fails the test where the counts are not what they may be.
func (r *run) report(t *testing.T, row row) {
	t.Helper()
	t.Logf("%s %s: sent %d, answered %d, failed %d, lost %d, replayed %d; %s", t.Name(), row.what, row.sent, row.answered, row.failed, row.lost, row.replayed, row.seen)
	for _, complaint := range row.complaints() {
		t.Error(complaint)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row)
}

func (r row) complaints() []string {
	var all []string
	if r.sent == 0 || r.answered == 0 {
		all = append(all, fmt.Sprintf("%d requests were sent and %d answered: nothing is shown", r.sent, r.answered))
	}
	if r.sent != r.answered+r.failed+r.lost {
		all = append(all, fmt.Sprintf("%d requests were sent, and %d answered, %d failed, %d lost: one is missing", r.sent, r.answered, r.failed, r.lost))
	}
	if r.mayLose >= 0 && r.lost > r.mayLose {
		all = append(all, fmt.Sprintf("%d are lost, %d may be: %s", r.lost, r.mayLose, strings.Join(r.losses, "; ")))
	}
	if r.mayFail >= 0 && r.failed > r.mayFail {
		all = append(all, fmt.Sprintf("%d failed, %d may: %s", r.failed, r.mayFail, strings.Join(r.losses, "; ")))
	}
	if r.replayed > 0 {
		all = append(all, fmt.Sprintf("%d requests were replayed", r.replayed))
	}
	return all
}

// try runs a scenario. In the long form its rows then take the place of its old ones in the report, whether they are as
// they shall be or not: what is lost is to be seen.
func (s scenario) try(t *testing.T, f *form) {
	r := &run{form: f, alone: s.alone}
	began := time.Now()
	t.Cleanup(func() { t.Logf("%s took %.1f s", s.name, time.Since(began).Seconds()) })
	s.run(t, r)
	if !f.long || f.scale != 1 || len(r.rows) == 0 {
		return
	}
	machine, err := report.ThisMachine()
	if err != nil {
		t.Fatal(err)
	}
	p := page{machine: machine.String(), measured: began.UTC().Format(time.DateOnly) + ", " + f.commit}
	if err := p.write("../../docs/reliability.md", s, r.rows); err != nil {
		t.Error(err)
	}
}

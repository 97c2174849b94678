package conformance

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/readers"
)

// corpus is the table: all rows of the files corpus_*_test.go.
func corpus() []row {
	return slices.Concat(
		framingRows(), chunkRows(), codingRows(), lineRows(), authorityRows(), exchangeRows(), responseRows(), fieldRows(),
		pathRows(), limitRows(), pipelineRows(), publishedRows(),
	)
}

// atLeast is how many distinct cases the table has, whatever the transports and cuts that each is tried with.
const atLeast = 250

// tally counts the distinct cases of a class, and those of them that have a form over HTTP/2.
type tally struct{ cases, streamed int }

// tallies counts the table's cases. Two rows are one case where they send the same bytes to the same answers.
func tallies() (byClass map[string]tally, all tally) {
	byClass = map[string]tally{}
	seen := map[string]bool{}
	for _, r := range corpus() {
		id := fmt.Sprintf("%q %t %q %+v", r.send, r.half, r.from, r.origin)
		if seen[id] {
			continue
		}
		seen[id] = true
		n := byClass[r.class]
		n.cases, all.cases = n.cases+1, all.cases+1
		if _, ok := r.overHTTP2(); ok {
			n.streamed, all.streamed = n.streamed+1, all.streamed+1
		}
		byClass[r.class] = n
	}
	return byClass, all
}

// TestCorpusIsWhole keeps the table in order: there are enough distinct cases, every class has some, and no two rows have one
// name.
func TestCorpusIsWhole(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range corpus() {
		if id := r.class + "/" + r.name; names[id] {
			t.Errorf("two rows are called %q", id)
		} else {
			names[id] = true
		}
		if len(r.want.statuses) == 0 && len(r.want.requests) == 0 && r.want.end != closes {
			t.Errorf("%s/%s wants nothing", r.class, r.name)
		}
	}
	count, all := tallies()
	for _, class := range classes {
		if count[class].cases < 3 {
			t.Errorf("the class %q has %d cases", class, count[class].cases)
		}
		t.Logf("%4d, %4d over HTTP/2  %s", count[class].cases, count[class].streamed, class)
		delete(count, class)
	}
	for class := range count {
		t.Errorf("the class %q is not listed", class)
	}
	t.Logf("%4d distinct cases, %d of them over HTTP/2 too", all.cases, all.streamed)
	if all.cases < atLeast {
		t.Errorf("%d distinct cases, of at least %d", all.cases, atLeast)
	}
}

// TestCorpus judges every row on every transport, with its bytes as they are and cut into pieces.
func TestCorpus(t *testing.T) {
	pool := &stands{}
	t.Cleanup(func() { pool.close(t) })
	for _, r := range corpus() {
		t.Run(r.class+"/"+r.name, func(t *testing.T) {
			t.Parallel()
			judge := func(r row, way transport, how cut) {
				t.Helper()
				seed := rand.Uint64()
				s := pool.take(t)
				if problems := try(t, s, r, way, how, seed); len(problems) > 0 {
					t.Fatalf("over %s, sent %s (seed %d)\n%s", transportNames[way], cutNames[how], seed, strings.Join(problems, "\n"))
				}
				pool.give(s)
			}
			judge(r, plain, whole)
			judge(r, plain, anywhere)
			if len(strings.Join(r.send, "")) <= 250 {
				judge(r, plain, bytewise)
			}
			judge(r, secured, anywhere)
			if over, ok := r.overHTTP2(); ok {
				judge(over, streamed, whole)
			}
		})
	}
}

// An outcome is what a client saw.
type outcome struct {
	responses []*response
	broken    error // the last response broke off
	tunnel    string
}

// refused says that the last answer is the proxy's own, in place of one that it could not pass on.
func (o *outcome) refused() bool {
	return o.broken == nil && len(o.responses) > 0 && o.responses[len(o.responses)-1].status == "502"
}

// try runs a row once and returns what was wrong.
func try(t *testing.T, s *stand, r row, way transport, how cut, seed uint64) (problems []string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	var replies *rand.Rand
	if how != whole {
		replies = rand.New(rand.NewPCG(seed, 1))
	}
	wrong := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf(format, arguments...))
	}
	s.origin.begin(slices.Clone(r.origin), replies, way)

	c := dial(t, s, way, r.from)
	defer c.close()
	if way == streamed {
		stream := newStream(c)
		got := stream.converse(r)
		judgeAnswers(r.want, got, wrong)
		if err := stream.end(r.want, got); err != nil {
			wrong("%v", err)
		}
	} else {
		got := converse(c, r, how, random)
		judgeAnswers(r.want, got, wrong)
		judgeEnd(c, r.want, got, wrong)
	}
	c.close()

	if err := s.origin.flush(); err != nil {
		wrong("the origin: %v", err)
	}
	quiet := func() bool {
		return !slices.ContainsFunc(s.origin.conns, func(c *originConn) bool { return c.state == busy || c.pending() })
	}
	for _, reply := range r.origin {
		if reply.late != "" {
			if !s.origin.await(quiet) {
				wrong("the origin is still busy")
			}
			s.origin.sendLate(reply.late)
		}
	}
	for range 2 {
		other := dial(t, s, plain, "")
		if err := victim(other); err != nil {
			wrong("another client: %v", err)
		}
		other.close()
	}
	settled := func() bool {
		return quiet() && (!r.want.discarded || !slices.ContainsFunc(s.origin.conns, func(c *originConn) bool {
			return c.inRow && c.state != gone
		}))
	}
	if !s.origin.await(settled) {
		wrong("the connection to the origin was not closed")
	}
	laxnesses := readers.Alone()
	if way == plain && how == whole {
		laxnesses = readers.Pairs()
	}
	judgeOrigin(s.origin, r.want, way, laxnesses, wrong)
	return problems
}

// converse sends the row's bytes and reads the answers.
func converse(c *client, r row, how cut, random *rand.Rand) *outcome {
	continued, answered, heard := make(chan struct{}, 64), make(chan struct{}, 64), make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, text := range r.send {
			wait := answered
			switch text {
			case await100:
				wait = continued
				fallthrough
			case awaitAnswer:
				select {
				case <-wait:
				case <-heard:
					select {
					case <-wait:
					default:
						return // what it waits for will not come
					}
				}
			default:
				if c.send(text, how, random) != nil {
					return
				}
			}
		}
		if half, ok := c.nc.(interface{ CloseWrite() error }); ok && r.half {
			_ = half.CloseWrite()
		}
	}()
	got := &outcome{}
	for i := range r.want.statuses {
		method := "GET"
		if i == 0 && strings.HasPrefix(r.send[0], "HEAD ") {
			method = "HEAD"
		}
		if i < len(r.want.requests) {
			method, _, _ = strings.Cut(r.want.requests[i].line, " ")
		}
		response, err := c.read(method, func(status string) {
			if status == "100" {
				continued <- struct{}{}
			}
		})
		if err == io.EOF {
			break
		}
		got.responses = append(got.responses, response)
		if err != nil {
			got.broken = err
			break
		}
		answered <- struct{}{}
	}
	if r.want.tunnel != "" && got.broken == nil {
		buf := make([]byte, len(r.want.tunnel))
		n, err := io.ReadFull(c.in, buf)
		got.tunnel, got.broken = string(buf[:n]), err
	}
	// A client that was refused does not go on. One that waits for nothing any more has sent all of it.
	close(heard)
	if r.want.end == closes || r.want.end == severed || r.want.end == aborted && !got.refused() {
		if got.broken == nil {
			got.broken = c.ended()
		}
		if r.want.end == severed && errors.Is(got.broken, syscall.ECONNRESET) {
			got.broken = nil
		}
		c.close()
	}
	<-sent
	return got
}

func judgeAnswers(want verdict, got *outcome, wrong func(string, ...any)) {
	var statuses, interim []string
	for _, r := range got.responses {
		statuses = append(statuses, r.status)
		interim = append(interim, r.interim...)
	}
	matches := func(allowed, status string) bool { return slices.Contains(strings.Split(allowed, "|"), status) }
	if !slices.EqualFunc(want.statuses, statuses, matches) {
		wrong("the answers are %v instead of %v", statuses, want.statuses)
		return
	}
	if want.interim != nil && !slices.Equal(want.interim, interim) {
		wrong("the interim answers are %v instead of %v", interim, want.interim)
	}
	if len(got.responses) == 0 {
		return
	}
	last := got.responses[len(got.responses)-1]
	if want.body != "" && last.body != want.body {
		wrong("the body is %q instead of %q", last.body, want.body)
	}
	for _, f := range want.fields {
		if name, absent := strings.CutPrefix(f, "-"); absent {
			if len(last.get(name)) > 0 {
				wrong("the answer has %s: %v", name, last.get(name))
			}
			continue
		}
		name, value, _ := strings.Cut(f, ": ")
		if !slices.Equal(last.get(name), []string{value}) {
			wrong("the answer has %s: %q instead of %q", name, last.get(name), value)
		}
	}
	if trailer := joined(last.trailer); !slices.Equal(trailer, want.trailer) {
		wrong("the answer's trailer is %q instead of %q", trailer, want.trailer)
	}
	if want.tunnel != got.tunnel {
		wrong("%q came back through the tunnel instead of %q", got.tunnel, want.tunnel)
	}
}

func judgeEnd(c *client, want verdict, got *outcome, wrong func(string, ...any)) {
	switch {
	case want.end == aborted && got.refused():
	case want.end == aborted:
		if got.broken == nil {
			wrong("the last answer looks complete")
		} else if errors.Is(got.broken, errNotHTTP) || errors.Is(got.broken, os.ErrDeadlineExceeded) {
			wrong("the last answer does not break off: %v", got.broken)
		}
	case got.broken != nil:
		wrong("the conversation ended with: %v", got.broken)
	case want.end == stays:
		if err := victim(c); err != nil {
			wrong("the connection does not serve the next request: %v", err)
		}
	case want.end == either:
		if err := victim(c); errors.Is(err, errNotHTTP) || errors.Is(err, os.ErrDeadlineExceeded) {
			wrong("the next request on the connection: %v", err)
		}
	}
}

func judgeOrigin(o *origin, want verdict, way transport, laxnesses []readers.Laxness, wrong func(string, ...any)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, fault := range o.faults {
		wrong("the origin received what no proxy may send: %s", fault)
	}
	var tunnel string
	for _, c := range o.conns {
		if c.inRow && c.partial && !want.partial {
			wrong("the origin received half a request: %q", c.raw)
		}
		if c.inRow {
			tunnel += string(c.tunnel)
		}
	}
	if tunnel != want.tunnel {
		wrong("the origin received %q through the tunnel instead of %q", tunnel, want.tunnel)
	}
	for i, m := range o.seen {
		for _, problem := range disagreements(m, laxnesses) {
			wrong("readers disagree about %q: %s", m.raw, problem)
		}
		if i < len(want.requests) {
			judgeRequest(m, want.requests[i], way, wrong)
		} else {
			wrong("the origin received a request too many: %q", m.raw)
		}
	}
	for _, missing := range want.requests[min(len(o.seen), len(want.requests)):] {
		wrong("the origin did not receive %q", missing.line)
	}
}

func judgeRequest(m *message, want request, way transport, wrong func(string, ...any)) {
	if line := m.method + " " + m.target; line != want.line {
		wrong("the origin received %q instead of %q", line, want.line)
	}
	if want.host != "" && m.get("Host")[0] != want.host {
		wrong("the origin received Host %q instead of %q", m.get("Host"), want.host)
	}
	if string(m.body) != want.body {
		wrong("the origin received the body %q instead of %q", m.body, want.body)
	}
	for _, f := range want.fields {
		if name, absent := strings.CutPrefix(f, "-"); absent {
			if len(m.get(name)) > 0 {
				wrong("the origin received %s: %q", name, m.get(name))
			}
			continue
		}
		if f, other := strings.CutPrefix(f, "~"); other {
			if name, value, _ := strings.Cut(f, ": "); len(m.get(name)) != 1 || slices.Contains(m.get(name), value) {
				wrong("the origin received %s: %q", name, m.get(name))
			}
			continue
		}
		name, value, _ := strings.Cut(f, ": ")
		if way != plain && (f == "X-Forwarded-Proto: http" || strings.HasSuffix(f, ";proto=http")) {
			value += "s"
		}
		if !slices.Equal(m.get(name), []string{value}) {
			wrong("the origin received %s: %q instead of %q", name, m.get(name), value)
		}
	}
	if trailer := joined(m.trailer); !slices.Equal(trailer, want.trailer) {
		wrong("the origin received the trailer %q instead of %q", trailer, want.trailer)
	}
}

func joined(fields [][2]string) (all []string) {
	for _, f := range fields {
		all = append(all, f[0]+": "+f[1])
	}
	return all
}

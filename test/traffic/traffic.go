package traffic

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// Options of Start. The zero value of a field is the default that its comment names.
type Options struct {
	// Addr is where requests go.
	Addr string
	// TLS makes the requests go over TLS; nil: without.
	TLS *tls.Config
	// HTTP2 makes the requests go over HTTP/2: each worker has a connection of its own. Its client sends again what the other
	// side says not to have taken (RFC 9113 §8.7), and nothing else.
	HTTP2 bool
	// Workers is how many clients send at the same time; 8.
	Workers int
	// Methods are used in turn; GET and POST. Requests with a POST or PUT have a body of 1 KiB.
	Methods []string
	// Target of the requests; "/load".
	Target string
	// FreshPercent is the share of requests on a connection of their own; 10. Below 0 it is none.
	FreshPercent int
	// Requests is how many are sent before the workers end by themselves; 0 is without end.
	Requests int
	// Pause between two requests of a worker; 1 ms, which leaves others something of a small machine. Below 0 it is none.
	Pause time.Duration
	// Rate is how many requests a second all workers send together, as far as they are answered in time; it takes the place of
	// Pause. 0 is none.
	Rate int
	// Leave ends a worker whose connection was closed in good order, or which gets none any more: for a proxy that stops.
	Leave bool
	// Each, if it is set, is told every answer, from the worker's goroutine.
	Each func(r Answer)
}

// A Answer is one whole response to a request of a Load.
type Answer struct {
	ID, Method, Origin string
	Proto              string
	Status             int
	Reason             string // of an answer that the proxy made itself
	Close              bool   // it says Connection: close
}

// A Tally is what became of the requests of a Load. Sent is Answered and Lost together.
type Tally struct {
	Sent     int
	Answered int            // 200, whole, and to this very request
	Lost     int            // anything else
	Fresh    int            // of Sent: on a connection of their own
	Reopened int            // connections that the other side had closed between two requests
	Closed   int            // answers that said Connection: close to who had not asked for it
	ByMethod map[string]int // answered
	ByOrigin map[string]int // answered
	ByStatus map[int]int    // whole responses of any status
	ByReason map[string]int // answers that the proxy made itself, by status and reason: "502 connect_failed"
	Cut      int            // of Lost: a response began and was visibly cut short
	Losses   []string       // the first of each kind, in words
}

// String is the tally in one line, for test logs.
func (t Tally) String() string {
	return fmt.Sprintf("sent %d, answered %d, lost %d (fresh %d, reopened %d, closed %d; %v %v)",
		t.Sent, t.Answered, t.Lost, t.Fresh, t.Reopened, t.Closed, t.ByMethod, t.ByOrigin)
}

// A Load is a set of clients that send requests one after the other until Stop. The origin must be an Echo: every
// request has an id, and every answer must show it.
//
// It counts strictly, and it never repeats a request. A connection that was closed in good order before a request was
// written on it (RFC 9112 §9.5 asks clients to look) is opened anew; one that ends later loses the request.
type Load struct {
	options Options
	name    string // makes the ids unique among loads
	stop    chan struct{}
	stopped sync.Once
	workers sync.WaitGroup
	taken   atomic.Int64 // of Requests
	sent    atomic.Int64
	began   time.Time

	mu    sync.Mutex
	tally Tally
	told  map[string]int // how many losses of each kind there were
}

// Start starts sending. Stop ends it; the end of the test does so too.
func Start(t testing.TB, o Options) *Load {
	t.Helper()
	if o.Workers == 0 {
		o.Workers = 8
	}
	if len(o.Methods) == 0 {
		o.Methods = []string{"GET", "POST"}
	}
	if o.Target == "" {
		o.Target = "/load"
	}
	if o.FreshPercent == 0 {
		o.FreshPercent = 10
	}
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	l := &Load{options: o, name: fmt.Sprintf("%08x", rand.Uint32()), stop: make(chan struct{}), began: time.Now(), told: map[string]int{}}
	l.tally = Tally{ByMethod: map[string]int{}, ByOrigin: map[string]int{}, ByStatus: map[int]int{}, ByReason: map[string]int{}}
	for i := range o.Workers {
		l.workers.Go(func() { (&loader{load: l, number: i}).run() })
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// Sent is how many requests have been sent so far.
func (l *Load) Sent() int { return int(l.sent.Load()) }

// Await waits until n more requests have been sent than now, for as long as some are sent.
func (l *Load) Await(t testing.TB, n int) {
	t.Helper()
	for until := l.Sent() + n; l.Sent() < until; {
		next := min(until, l.Sent()+20) // a machine with much to do sends few a second
		harness.Eventually(t, fmt.Sprintf("%d more requests", n), func() bool { return l.Sent() >= next })
	}
}

// Stop lets every worker finish its request, and returns what became of all.
func (l *Load) Stop() Tally {
	l.stopped.Do(func() { close(l.stop) })
	return l.Wait()
}

// Wait returns when all workers have ended by themselves: see Leave and Requests.
func (l *Load) Wait() Tally {
	l.workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

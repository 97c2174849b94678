package traffic

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	// Leave ends a worker whose connection was closed in good order, or which gets none any more: for a proxy that stops.
	Leave bool
	// Each, if it is set, is told every answer, from the worker's goroutine.
	Each func(r Answer)
}

// A Answer is one whole response to a request of a Load.
type Answer struct {
	ID, Method, Origin string
	Status             int
	Close              bool // it says Connection: close
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
	Losses   []string       // the first of them, in words
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

	mu    sync.Mutex
	tally Tally
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
	l := &Load{options: o, name: fmt.Sprintf("%08x", rand.Uint32()), stop: make(chan struct{})}
	l.tally = Tally{ByMethod: map[string]int{}, ByOrigin: map[string]int{}, ByStatus: map[int]int{}}
	for i := range o.Workers {
		l.workers.Go(func() { (&loader{load: l, number: i}).run() })
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// Sent is how many requests have been sent so far.
func (l *Load) Sent() int { return int(l.sent.Load()) }

// Await waits until n more requests have been sent than now.
func (l *Load) Await(t testing.TB, n int) {
	t.Helper()
	until := l.Sent() + n
	harness.Eventually(t, fmt.Sprintf("%d more requests", n), func() bool { return l.Sent() >= until })
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

// A loader is one worker.
type loader struct {
	load   *Load
	number int
	count  int
	conn   *net.TCPConn
	stream net.Conn // conn with patience, and with TLS where that is asked for
	reader *bufio.Reader
}

func (w *loader) run() {
	defer w.hangUp()
	o := w.load.options
	for {
		select {
		case <-w.load.stop:
			return
		default:
		}
		if o.Pause > 0 && w.count > 0 {
			select {
			case <-time.After(o.Pause):
			case <-w.load.stop:
				return
			}
		}
		if n := w.load.taken.Add(1); o.Requests > 0 && n > int64(o.Requests) {
			return
		}
		w.count++
		fresh := (w.number+w.count)*max(o.FreshPercent, 0)%100 < max(o.FreshPercent, 0)
		if !w.connect(fresh) {
			return
		}
		method := o.Methods[(w.number+w.count)%len(o.Methods)]
		id := fmt.Sprintf("%s-%d-%d.", w.load.name, w.number, w.count)
		w.load.sent.Add(1)
		answer, err := w.exchange(method, id, fresh)
		w.note(answer, fresh, err)
		if err != nil || fresh || answer.Close {
			w.hangUp()
			if err == nil && !fresh && o.Leave {
				return
			}
		}
	}
}

// connect makes sure of a connection on which nothing has happened. It is false where the worker shall end.
func (w *loader) connect(fresh bool) bool {
	if w.conn != nil && (fresh || w.ended()) {
		if !fresh {
			w.load.mu.Lock()
			w.load.tally.Reopened++
			w.load.mu.Unlock()
			if w.load.options.Leave {
				return false
			}
		}
		w.hangUp()
	}
	for w.conn == nil {
		conn, err := net.DialTimeout("tcp", w.load.options.Addr, harness.Patience)
		if err == nil {
			tcp, ok := conn.(*net.TCPConn)
			if !ok {
				return false
			}
			w.conn, w.stream = tcp, patient{tcp}
			if config := w.load.options.TLS; config != nil {
				secured := tls.Client(w.stream, config)
				w.stream, err = secured, secured.Handshake()
			}
			if err == nil {
				w.reader = bufio.NewReader(w.stream)
				break
			}
			w.hangUp()
		}
		if w.load.options.Leave && errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
		// Nothing was sent, but a client that cannot connect is a lost one.
		w.load.sent.Add(1)
		w.note(Answer{}, fresh, err)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.load.stop:
			return false
		}
	}
	return true
}

// ended reports whether the other side has closed the connection while it was idle.
func (w *loader) ended() bool {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	if err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		// Over TLS what comes between two requests is the announcement of the end.
		ended = err == nil && (n == 0 || w.load.options.TLS != nil) || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true
	}); err != nil {
		return true
	}
	return ended
}

func (w *loader) hangUp() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// patient is a connection whose every single read and write has a deadline.
type patient struct{ *net.TCPConn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(harness.Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Write(b)
}

// loadBody is the body of the requests that have one.
func loadBody() string { return harness.Pattern(1 << 10) }

func (w *loader) exchange(method, id string, fresh bool) (Answer, error) {
	o := w.load.options
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: load\r\n%s: %s\r\n", method, o.Target, harness.LoadID, id)
	if fresh {
		request.WriteString("Connection: close\r\n")
	}
	size := 0
	if method == "POST" || method == "PUT" {
		body := loadBody()
		size = len(body)
		fmt.Fprintf(&request, "Content-Length: %d\r\n\r\n%s", size, body)
	} else {
		request.WriteString("\r\n")
	}
	a := Answer{ID: id, Method: method}
	if _, err := io.WriteString(w.stream, request.String()); err != nil {
		return a, fmt.Errorf("sending: %w", err)
	}
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		return a, fmt.Errorf("no response: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return a, fmt.Errorf("the body of a %d response is cut short: %w", response.StatusCode, err)
	}
	a.Status, a.Origin, a.Close = response.StatusCode, response.Header.Get("X-Origin"), response.Close
	switch text := string(body); {
	case a.Status != http.StatusOK:
		err = fmt.Errorf("%d: %s", a.Status, fmt.Sprintf("%.400q", text))
	case method == "HEAD":
	case !strings.Contains(text, `"`+id+`"`) || !strings.Contains(text, fmt.Sprintf(`"bytes":%d,`, size)):
		err = fmt.Errorf("the answer to another request: %s", fmt.Sprintf("%.400q", text))
	}
	if o.Each != nil {
		o.Each(a)
	}
	return a, err
}

func (w *loader) note(a Answer, fresh bool, err error) {
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	t := &w.load.tally
	t.Sent++
	if fresh {
		t.Fresh++
	}
	if a.Status != 0 {
		t.ByStatus[a.Status]++
	}
	if a.Close && !fresh {
		t.Closed++
	}
	if err != nil {
		t.Lost++
		if len(t.Losses) < 20 {
			t.Losses = append(t.Losses, fmt.Sprintf("%s %s: %v", a.Method, a.ID, err))
		}
		return
	}
	t.Answered++
	t.ByMethod[a.Method]++
	t.ByOrigin[a.Origin]++
}

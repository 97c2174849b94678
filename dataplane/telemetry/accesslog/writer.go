package accesslog

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"

	"github.com/go-logr/logr"
)

const (
	// flushBytes is how much wakes the writer before flushInterval is over. On a busy proxy a write of this size takes some
	// 20 µs, once in a few hundred requests.
	flushBytes    = 64 << 10
	flushInterval = 150 * time.Millisecond
	// maxWaiting bounds what waits to be written, when the disk or the reader of a pipe is slower than we are.
	maxWaiting = 4 << 20
	retryAfter = time.Second     // after a failed write
	endTimeout = 2 * time.Second // for what a writer holds when it is replaced or the proxy stops
	// sayAgain is how often the process log is told of trouble that lasts.
	sayAgain = exchange.Nanos(time.Minute)
)

// A lineWriter writes one file from a goroutine of its own, so that nobody waits for it, not even its successor.
type lineWriter struct {
	path    string
	file    *os.File
	log     logr.Logger
	metrics *telemetry.Metrics
	waiting *atomic.Int64 // shared with the log's other writers
	said    atomic.Int64  // when the process log was told of trouble last, on the monotonic clock; 0: never
	trouble atomic.Bool   // it was told, and not yet of the end

	mu      sync.Mutex
	pending []byte
	spare   []byte // memory of the last write, to be pending next
	closed  bool

	wake chan struct{} // the first pending line, and the one that makes flushBytes
	stop chan struct{} // closed by end
	done chan struct{} // closed when everything is written, or given up, and the file is closed
}

// open starts a writer for a path.
func (l *Log) open(path string) (*lineWriter, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	w := &lineWriter{
		path: path, file: f, log: l.log.WithValues("path", path), metrics: l.metrics, waiting: &l.waiting,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if torn(path) {
		w.pending = append(w.pending, '\n')
		w.waiting.Add(1)
	}
	go w.run()
	return w, nil
}

func openFile(path string) (*os.File, error) {
	switch path {
	case "stdout":
		return telemetry.Duplicate(os.Stdout)
	case "stderr":
		return telemetry.Duplicate(os.Stderr)
	}
	// O_NONBLOCK: opening a FIFO that nobody reads is an error, and does not hang. It has no effect on a regular file.
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
}

// torn reports whether a file ends in the middle of a line: its last writer was killed, or its disk full to the end.
func torn(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// is reports whether w writes what path names now.
func (w *lineWriter) is(path string) bool {
	if w.path != path {
		return false
	}
	if path == "stdout" || path == "stderr" {
		return true
	}
	mine, err := w.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// add takes a line to write, or drops it when too many wait. It is false when w was replaced.
func (w *lineWriter) add(line []byte) bool {
	n := len(line)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return false
	}
	if w.waiting.Add(int64(n)) > maxWaiting {
		w.mu.Unlock()
		w.waiting.Add(-int64(n))
		w.metrics.AccessLogDropped.Inc()
		w.complain(errFull)
		return true
	}
	before := len(w.pending)
	w.pending = append(w.pending, line...)
	w.mu.Unlock()
	if before == 0 || before < flushBytes && before+n >= flushBytes {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// errFull is what there is to say where a write takes for ever.
var errFull = errors.New("it is not taken as fast as it is written")

// complain tells the process log what is wrong, at first and then once in a while. Anybody may call it: the process log
// holds nobody up.
func (w *lineWriter) complain(err error) {
	now := max(int64(exchange.Now()), 1)
	last := w.said.Load()
	if last != 0 && now-last < int64(sayAgain) || !w.said.CompareAndSwap(last, now) {
		return
	}
	w.trouble.Store(true)
	w.log.Error(err, "cannot write the access log; lines are kept while there is room and dropped after",
		"dropped_lines", w.metrics.AccessLogDropped.Value())
}

// end says that no more lines come. What is pending is still written, for as long as endTimeout.
func (w *lineWriter) end() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	// Where it has no effect, on a stream in blocking mode, a reader that reads nothing keeps the goroutine for as long as
	// it lives; maxStuck bounds how many there are.
	_ = w.file.SetWriteDeadline(time.Now().Add(endTimeout))
	close(w.stop)
}

func (w *lineWriter) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// run writes until the end. It waits for the first line, then until there are enough of them or flushInterval is over.
func (w *lineWriter) run() {
	defer close(w.done)
	timer := time.NewTimer(flushInterval)
	defer timer.Stop()
	for {
		w.mu.Lock()
		n, closed := len(w.pending), w.closed
		w.mu.Unlock()
		switch {
		case closed && n == 0:
			if err := w.file.Close(); err != nil {
				w.log.Error(err, "cannot close the access log")
			}
			return
		case closed || n >= flushBytes:
		case n == 0:
			select {
			case <-w.wake:
			case <-w.stop:
			}
			continue
		default:
			timer.Reset(flushInterval)
			select {
			case <-timer.C:
			case <-w.wake:
			case <-w.stop:
			}
		}
		w.mu.Lock()
		lines := w.pending
		w.pending, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		w.write(lines)
	}
}

// write writes lines, as often as it takes; when the writer was replaced, once more.
func (w *lineWriter) write(lines []byte) {
	rest := lines
	for len(rest) > 0 {
		n, err := w.file.Write(rest)
		rest = rest[n:]
		w.waiting.Add(-int64(n))
		if err == nil {
			if w.trouble.Swap(false) {
				w.log.Info("the access log can be written again", "dropped_lines", w.metrics.AccessLogDropped.Value())
			}
			break
		}
		w.metrics.AccessLogWriteErrors.Inc()
		w.complain(err)
		if !w.pause() {
			w.metrics.AccessLogDropped.Add(uint64(bytes.Count(rest, []byte{'\n'})))
			w.waiting.Add(-int64(len(rest)))
			break
		}
	}
	if cap(lines) <= 16*flushBytes { // what a stuck disk has piled up is not kept
		w.mu.Lock()
		w.spare = lines[:0]
		w.mu.Unlock()
	}
}

// pause waits after a failed write, and reports whether to try again.
func (w *lineWriter) pause() bool {
	select {
	case <-w.stop:
		return false
	default:
	}
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.stop: // once more, now
	}
	return true
}

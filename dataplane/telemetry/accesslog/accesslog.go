package accesslog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// The formats of the access log.
const (
	JSON    = "JSON"
	Console = "Console"
)

// maxStuck bounds the files of earlier configurations that could not be written to their end yet.
const maxStuck = 4

// Config says where and how requests are written down. It has the fields of snapshot.AccessLog and is converted
// from it.
type Config struct {
	Path          string  // stdout, stderr, off, or a file
	Format        string  // JSON or Console, in any case; empty: JSON
	SamplePercent float64 // of the requests, by chance: 100 is all, 0 none
}

// A Log writes a line a request. Log encodes it on the request's goroutine and leaves it in memory; a goroutine
// of the log's own writes. What cannot be written is dropped and counted when the memory is full: a full disk or a stuck
// pipe never slows a request.
type Log struct {
	log      logr.Logger
	metrics  *telemetry.Metrics
	encoders sync.Pool // of *encoder: one a core in practice, so that encoding needs no lock
	current  atomic.Pointer[destination]
	waiting  atomic.Int64 // bytes in the memory of all writers

	mu      sync.Mutex // guards what follows: one Apply, Reopen or Close at a time
	config  Config
	leaving []*lineWriter // replaced, but not yet at their end
	closed  bool
}

// A destination is what Log needs to know of the configuration.
type destination struct {
	writer *lineWriter // nil: off
	json   bool
	sample uint64 // of 2^32 requests; 0: off
}

// New returns a log that is off until Apply. Problems of writing go to log; metrics counts them. It must be
// closed.
func New(log logr.Logger, metrics *telemetry.Metrics) *Log {
	l := &Log{log: log, metrics: metrics, config: Config{Path: "off"}}
	l.encoders.New = func() any { return &encoder{line: make([]byte, 0, 1024)} }
	l.current.Store(&destination{})
	return l
}

// Enabled reports whether Log may write a line. Where it does not, a caller can leave out what only the log needs.
func (l *Log) Enabled() bool { return l.current.Load().sample != 0 }

// Log writes down a finished exchange: x.Record is complete. It does not block.
func (l *Log) Log(x *exchange.Exchange, configHash string) {
	d := l.current.Load()
	if d.sample == 0 || d.sample < 1<<32 && uint64(rand.Uint32()) >= d.sample {
		return
	}
	e, _ := l.encoders.Get().(*encoder)
	for d.sample != 0 {
		if d.json {
			e.json(x, configHash)
		} else {
			e.console(x)
		}
		if d.writer.add(e.line) {
			break
		}
		d = l.current.Load() // a new configuration has closed the writer under us
	}
	if cap(e.line) > maxKeptLine {
		e.line = make([]byte, 0, 1024)
	}
	l.encoders.Put(e)
}

// Apply makes the log follow a configuration. Lines logged before still go where they would have gone. With an error
// nothing has changed. A file that was renamed or removed since is opened anew.
func (l *Log) Apply(config Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apply(config)
}

// Reopen opens the log's file anew if it was renamed or removed. With an error the old one is still written.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apply(l.config)
}

// apply does the work of Apply. The caller holds l.mu.
func (l *Log) apply(config Config) error {
	if l.closed {
		return errors.New("access_log: it is closed")
	}
	next, err := destinationOf(config)
	if err != nil {
		return err
	}
	l.leaving = slices.DeleteFunc(l.leaving, (*lineWriter).ended)
	old := l.current.Load()
	switch {
	case config.Path == "off" || config.Path == "":
		next.sample = 0
	case old.writer != nil && old.writer.is(config.Path):
		next.writer = old.writer
	case len(l.leaving) >= maxStuck:
		return fmt.Errorf("access_log.path: %s: not opened, because %d earlier files could not be written to their end yet",
			config.Path, len(l.leaving))
	default:
		next.writer, err = l.open(config.Path)
		if err != nil {
			return fmt.Errorf("access_log.path: %w", err)
		}
	}
	l.config = config
	l.change(next)
	return nil
}

// change makes next the destination. The caller holds l.mu.
func (l *Log) change(next *destination) {
	old := l.current.Swap(next)
	if old.writer != nil && old.writer != next.writer {
		old.writer.end()
		l.leaving = append(l.leaving, old.writer)
	}
}

// Close writes what is pending and ends the log; it gives up after three seconds. Later lines are not written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.change(&destination{})
	timer := time.NewTimer(endTimeout + endTimeout/2)
	defer timer.Stop()
	for _, w := range l.leaving {
		select {
		case <-w.done:
		case <-timer.C:
			return fmt.Errorf("access_log.path: %s: %d bytes could not be written", w.path, l.waiting.Load())
		}
	}
	l.leaving = nil
	return nil
}

// destinationOf reads everything of a configuration but its path.
func destinationOf(config Config) (*destination, error) {
	if !(config.SamplePercent >= 0 && config.SamplePercent <= 100) { // also refuses NaN
		return nil, fmt.Errorf("access_log.sample_percent: %v is not between 0 and 100", config.SamplePercent)
	}
	d := &destination{sample: uint64(math.Round(config.SamplePercent / 100 * (1 << 32)))}
	switch {
	case config.Format == "", strings.EqualFold(config.Format, JSON):
		d.json = true
	case !strings.EqualFold(config.Format, Console):
		return nil, fmt.Errorf("access_log.format: %q is neither %s nor %s", config.Format, JSON, Console)
	}
	return d, nil
}

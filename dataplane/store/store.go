package store

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/redis/go-redis/v9"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Metrics are what a Store tells of itself.
type Metrics interface {
	// SharedStore says whether there is a store, and whether it answers.
	SharedStore(configured, up bool)
}

// A Store is the way to the Redis that is configured now, if there is one. It may be used from any goroutine.
type Store struct {
	log     logr.Logger
	metrics Metrics
	current atomic.Pointer[link] // nil: no Redis is configured

	mu     sync.Mutex // Apply and Close have one writer
	config snapshot.Store
	closed bool
}

var _ filter.Shared = (*Store)(nil)

// New returns a Store for that configuration. Close ends it. metrics may be nil.
func New(config snapshot.Store, log logr.Logger, metrics Metrics) *Store {
	redis.SetLogger(quiet{}) // the library would write to stderr what is said here once, in our own words
	s := &Store{log: log, metrics: metrics}
	s.Apply(config)
	return s
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Apply makes that configuration the one that is used. Of an equal one the connections stay. It waits until it is
// known whether a new Redis answers, but no longer than the configuration's time-out.
func (s *Store) Apply(config snapshot.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.current.Load() != nil && equal(config, s.config) {
		return
	}
	s.config = config
	var next *link
	if config.RedisURL != "" {
		next = newLink(config, s.log, s.state)
	}
	old := s.current.Swap(next)
	if old != nil {
		old.close()
	}
	if next == nil {
		s.state(false, false)
		return
	}
	next.start()
}

func equal(a, b snapshot.Store) bool {
	return a.RedisURL == b.RedisURL && a.Timeout == b.Timeout && bytes.Equal(a.Password, b.Password) && bytes.Equal(a.CA, b.CA)
}

func (s *Store) state(configured, up bool) {
	if s.metrics != nil {
		s.metrics.SharedStore(configured, up)
	}
}

// Up reports whether the store answers.
func (s *Store) Up() bool {
	l := s.current.Load()
	return l != nil && l.up.Load()
}

// Close ends the connections. Whoever waits for an answer gets an error.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if old := s.current.Swap(nil); old != nil {
		old.close()
	}
}

var (
	errAway = errors.New("the store of shared limits does not answer")
	errBusy = errors.New("too many requests wait for the store of shared limits")
)

// Take implements filter.Shared.
func (s *Store) Take(ctx context.Context, key string, burst int, interval time.Duration) (
	allowed bool, remaining int, retry, reset time.Duration, err error,
) {
	l := s.current.Load()
	if l == nil {
		return false, 0, 0, 0, filter.ErrNoStore
	}
	if !l.up.Load() {
		return false, 0, 0, 0, errAway
	}
	c := &call{key: key, burst: burst, interval: interval, since: time.Now(), done: make(chan struct{})}
	select {
	case l.calls <- c:
	default:
		return false, 0, 0, 0, errBusy
	}
	select {
	case <-c.done:
		return c.allowed, c.remaining, c.retry, c.reset, c.err
	case <-l.ctx.Done():
		return false, 0, 0, 0, errAway
	case <-ctx.Done():
		return false, 0, 0, 0, ctx.Err()
	}
}

// A call is one request of one limit. The fields below done are written before it is closed.
type call struct {
	key      string
	burst    int
	interval time.Duration
	since    time.Time

	done         chan struct{}
	allowed      bool
	remaining    int
	retry, reset time.Duration
	err          error
}

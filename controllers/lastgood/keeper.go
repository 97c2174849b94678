package lastgood

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// interval is the least time between two writes: what changes without end is not written without end.
	interval = time.Second
	// retryAfter is when a write that failed is tried again, if nothing newer comes.
	retryAfter = 10 * time.Second
)

// A Keeper writes the newest of the configurations that it is given to a file, in the background.
type Keeper struct {
	path     string
	log      logr.Logger
	interval time.Duration
	retry    time.Duration
	write    func(path string, payload []byte) error

	wake    chan struct{}
	closing chan struct{}
	done    chan struct{}
	once    sync.Once

	mu     sync.Mutex
	newest any
	fresh  bool // newest was not taken yet

	// The goroutine's own.
	written [sha256.Size]byte
	failing bool
}

// NewKeeper makes a Keeper of the file and starts it. It has to be closed.
func NewKeeper(path string, log logr.Logger) *Keeper {
	k := newKeeper(path, log)
	go k.run()
	return k
}

func newKeeper(path string, log logr.Logger) *Keeper {
	return &Keeper{
		path: path, log: log, interval: interval, retry: retryAfter, write: Write,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
}

// Keep has the value written as JSON. It never waits. The value must not change any more.
func (k *Keeper) Keep(value any) {
	k.mu.Lock()
	k.newest, k.fresh = value, true
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Close writes what is not written yet, and returns when the Keeper has ended.
func (k *Keeper) Close() {
	k.once.Do(func() { close(k.closing) })
	<-k.done
}

func (k *Keeper) run() {
	defer close(k.done)
	timer := time.NewTimer(k.retry)
	defer timer.Stop()
	timer.Stop()
	var last time.Time
	for {
		select {
		case <-k.closing:
			k.save()
			return
		case <-k.wake:
			if early := k.interval - time.Since(last); early > 0 {
				timer.Reset(early)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		if !k.save() {
			timer.Reset(k.retry)
		}
	}
}

// save writes the newest value if it is not written, and reports whether it is.
func (k *Keeper) save() bool {
	k.mu.Lock()
	value, fresh := k.newest, k.fresh
	k.fresh = false
	k.mu.Unlock()
	if !fresh {
		return true
	}
	if err := k.put(value); err != nil {
		if !k.failing {
			k.log.Error(err, "The configuration that serves was not kept; a restart without its source would serve an older one or none")
		}
		k.failing = true
		k.mu.Lock()
		k.fresh = true
		k.mu.Unlock()
		return false
	}
	if k.failing {
		k.log.Info("The configuration that serves is kept again", "path", k.path)
	}
	k.failing = false
	return true
}

func (k *Keeper) put(value any) error {
	payload, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("last good configuration %s: not written: %w", k.path, err)
	}
	sum := sha256.Sum256(payload)
	if sum == k.written {
		return nil
	}
	if err := k.write(k.path, payload); err != nil {
		return err
	}
	k.written = sum
	return nil
}

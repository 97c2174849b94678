package standalone

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
)

const (
	// settle is how long the files must be quiet before they are read: editors and copies write in steps.
	settle = 100 * time.Millisecond
	// patience is how long a folder that is never quiet may put that off.
	patience = time.Second
	// recheck finds what no event told: file systems without events, and watched folders that were replaced.
	recheck = 5 * time.Second
)

// A Source keeps a configuration up to date with its files.
type Source struct {
	options Options
	log     logr.Logger
	result  func(err error)
	reload  chan struct{}
	recheck time.Duration
	deaf    bool // for tests: as on a file system without events
}

// NewSource makes a source of the options. It calls result after every reload: with nil where the new configuration is
// in effect, else with why it is not, an *InvalidError or apply's error. result may be nil.
func NewSource(o Options, log logr.Logger, result func(err error)) *Source {
	if result == nil {
		result = func(error) {}
	}
	return &Source{options: o, log: log, result: result, reload: make(chan struct{}, 1), recheck: recheck}
}

// Reload makes Run read the configuration again and apply it, changed or not. It does not wait.
func (s *Source) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // one is waiting already, and will see what is there now
	}
}

// Run applies the configuration now, and again whenever its files change or Reload asks for it, until ctx is done. A
// configuration that is bad or that apply refuses is logged, a line a problem, and changes nothing; only the first one
// ends Run, with an *InvalidError or apply's error. Where the caller has loaded the first one already it hands it in,
// else first is nil.
func (s *Source) Run(ctx context.Context, first *Loaded, apply func(*Loaded) error) error {
	// Watching begins before reading, so that no change falls between.
	w := s.watch()
	defer w.close()
	if first == nil {
		var problems []Problem
		if first, problems = Load(s.options); first == nil {
			return &InvalidError{Problems: problems}
		}
	}
	if err := apply(first); err != nil {
		return err
	}
	seen := first.digest
	w.add(s.options.Path)

	quiet := time.NewTimer(settle) // the first look compares with what was handed in
	defer quiet.Stop()
	again := time.NewTicker(s.recheck)
	defer again.Stop()
	var since time.Time // the first event of those that are waiting
	for {
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case <-w.events():
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(settle, max(0, patience-time.Since(since))))
			continue
		case err := <-w.errors():
			s.log.Error(err, "watching the configuration failed; it is read again every few seconds")
			continue
		case <-s.reload:
			forced = true
		case <-quiet.C:
		case <-again.C:
		}
		since = time.Time{}
		w.add(s.options.Path)
		contents, problems := read(s.options.Path)
		now := state(contents, problems)
		if !forced && now == seen {
			continue
		}
		seen = now
		s.result(s.update(contents, problems, apply))
	}
}

// state tells what was read apart, also by what could not be read.
func state(contents []content, problems []Problem) [sha256.Size]byte {
	for _, p := range problems {
		contents = append(contents, content{name: p.File, data: []byte(p.String())})
	}
	return digest(contents)
}

func (s *Source) update(contents []content, problems []Problem, apply func(*Loaded) error) error {
	loaded, problems := load(s.options, contents, problems)
	if loaded == nil {
		for _, p := range problems {
			s.log.Error(nil, p.String(), "file", p.File, "line", p.Line, "column", p.Column, "field", p.Path)
		}
		s.log.Error(nil, "the new configuration is refused; the last good one keeps serving", "problems", len(problems))
		return &InvalidError{Problems: problems}
	}
	if err := apply(loaded); err != nil {
		s.log.Error(err, "the new configuration could not be applied; the last good one keeps serving")
		return err
	}
	s.log.Info("configuration reloaded", "hash", loaded.Snapshot.Hash, "services", len(loaded.Services))
	return nil
}

// A watcher follows the folders that a path depends on. Without events from the system it is silent.
type watcher struct {
	fs  *fsnotify.Watcher
	log logr.Logger
}

func (s *Source) watch() *watcher {
	w := &watcher{log: s.log}
	if s.options.Path == "" || s.deaf {
		return w
	}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		s.log.Error(err, "the configuration's folder cannot be watched; it is read again every few seconds")
		w.fs = nil
		return w
	}
	w.add(s.options.Path)
	return w
}

func (w *watcher) close() {
	if w.fs != nil {
		_ = w.fs.Close() // nothing follows
	}
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

func (w *watcher) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

// add watches what is to be watched now: folders, not files, because files are replaced by renaming others over them.
func (w *watcher) add(path string) {
	if w.fs == nil {
		return
	}
	wanted := folders(path)
	for _, have := range w.fs.WatchList() {
		if !slices.Contains(wanted, have) {
			_ = w.fs.Remove(have) // it may be gone by itself
		}
	}
	for _, dir := range wanted {
		if err := w.fs.Add(dir); err != nil && !os.IsNotExist(err) {
			w.log.Error(err, "a folder of the configuration cannot be watched; it is read again every few seconds", "folder", dir)
		}
	}
}

// folders lists the folders in which a change can change what path means: its own, those of the links that it goes
// through, and for a folder the same of its files.
func folders(path string) []string {
	var out []string
	add := func(dir string) {
		if !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	follow := func(p string) {
		for range 16 {
			add(filepath.Dir(p))
			target, err := os.Readlink(p)
			if err != nil {
				return
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(p), target)
			}
			p = target
		}
	}
	follow(path)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return out
	}
	add(filepath.Clean(path))
	names, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.yaml"))
	if err != nil {
		return out
	}
	for _, name := range names {
		follow(name)
	}
	return out
}

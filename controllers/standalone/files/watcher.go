package files

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
)

// A Watcher follows the folders that paths depend on. Its zero value is silent, as on a system without events.
type Watcher struct {
	fs    *fsnotify.Watcher
	log   logr.Logger
	paths []string // that it follows
}

// NewWatcher returns a Watcher that follows nothing yet. It is silent where the system has no events for it.
func NewWatcher(log logr.Logger) *Watcher {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		log.Error(err, "the configuration's folder cannot be watched; it is read again every few seconds")
		return &Watcher{}
	}
	return &Watcher{fs: fs, log: log}
}

// Close ends it.
func (w *Watcher) Close() {
	if w.fs != nil {
		_ = w.fs.Close() // nothing follows
	}
}

// Events tells that something has changed; nil where nothing is ever told.
func (w *Watcher) Events() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

// Errors tells that changes may have been missed.
func (w *Watcher) Errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

// Follow makes the paths the ones that are watched: by their folders, because files are replaced by renaming others over
// them. same says that nobody has changed where links lead since they were followed the last time.
func (w *Watcher) Follow(paths []string, same bool) {
	if w.fs == nil || same && slices.Equal(paths, w.paths) {
		return
	}
	w.paths = paths
	wanted := folders(paths)
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

// folders lists the folders in which a change can change what paths mean: their own, those of the links that they go
// through, and for a folder the same of its files.
func folders(paths []string) []string {
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
	for _, path := range paths {
		follow(path)
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		add(filepath.Clean(path))
		entries, _ := list(path) // what cannot be listed has nothing to follow
		for _, e := range entries {
			if e.Type()&os.ModeSymlink != 0 {
				follow(filepath.Join(path, e.Name()))
			}
		}
	}
	return out
}

package files

import (
	"os"
	"slices"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
)

// A Watcher follows the folders that paths depend on. Its zero value is silent, as on a system without events.
type Watcher struct {
	fs    *fsnotify.Watcher
	log   logr.Logger
	paths []string // that it follows
	at    *places  // of the paths
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

// Concerns says whether an event can change what the paths mean.
func (w *Watcher) Concerns(e fsnotify.Event) bool { return w.at.concern(e.Name) }

// Follow makes the paths the ones that are watched: by their folders, because files are replaced by renaming others over
// them. same says that nobody has changed where links lead since they were followed the last time.
func (w *Watcher) Follow(paths []string, same bool) {
	if w.fs == nil || same && slices.Equal(paths, w.paths) {
		return
	}
	w.paths, w.at = paths, placesOf(paths)
	for _, have := range w.fs.WatchList() {
		if w.at.spelt[have] != have {
			_ = w.fs.Remove(have) // it may be gone by itself
		}
	}
	for _, dir := range w.at.names {
		if err := w.fs.Add(dir); err != nil && !os.IsNotExist(err) {
			w.log.Error(err, "a folder of the configuration cannot be watched; it is read again every few seconds", "folder", dir)
		}
	}
}

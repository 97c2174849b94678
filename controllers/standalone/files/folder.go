package files

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// A Folder is a file, or the files of a folder in the order of their names, that are read again and again. What events tell of
// them spares asking the system about each one. Its zero value has read nothing.
type Folder struct {
	reader Reader
	path   string
	told   bool            // of events
	last   []*File         // what was read, all of it
	plain  bool            // it is a folder without links, all of whose files could be read: what happens in it is all that can happen
	sure   bool            // nothing but the suspects can have changed since
	fresh  map[string]bool // the suspects
}

// Opened is how many files were opened since the start.
func (f *Folder) Opened() int64 { return f.reader.Opened() }

// Read reads what stands at a path, at most so many bytes of each file and one more, as Reader does. The error says that
// nothing can be listed there.
func (f *Folder) Read(path string, most int64) (read []*File, failures []Failure, err error) {
	f.plain, f.sure, f.fresh = false, true, map[string]bool{} // what an event tells from now on may be news
	names := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		entries, err := list(path)
		if err != nil {
			return nil, nil, err
		}
		f.path = filepath.Clean(path)
		itself, err := os.Lstat(f.path)
		f.plain = err == nil && itself.IsDir()
		names = names[:0]
		for _, e := range entries {
			names = append(names, filepath.Join(path, e.Name()))
			f.plain = f.plain && e.Type()&os.ModeSymlink == 0
		}
	}
	read, failures = f.reader.Read(names, most)
	// Of a folder without files Read says so, and Again would not.
	f.last, f.plain = read, f.plain && len(failures) == 0 && len(read) > 0
	return read, failures, nil
}

// Watch says that from now on Told is told of every event. Before that nothing is spared.
func (f *Folder) Watch() { f.told, f.sure = true, false }

// Told takes an event into account. Of those that happened before Read it may be told later.
func (f *Folder) Told(e fsnotify.Event) {
	name := filepath.Clean(e.Name)
	switch dir := filepath.Dir(name); {
	case !f.plain:
		f.sure = false
	case dir != f.path && dir == filepath.Dir(f.path) && name != f.path: // a neighbour of the folder
	case dir != f.path:
		f.sure = false
	case !listed(filepath.Base(name)): // a file that is being written, to be renamed, or nothing of ours
	case e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || f.index(name) < 0:
		f.sure = false
	default:
		f.fresh[name] = true
	}
}

// Doubt says that anything may have changed.
func (f *Folder) Doubt() { f.sure = false }

// Sure reports whether events have told all that can have changed since Read, and Again can find out.
func (f *Folder) Sure() bool { return f.told && f.plain && f.sure }

// Again reads the suspects alone, where it is sure of the others. Where it is not, it returns false, and Read must.
func (f *Folder) Again(most int64) ([]*File, bool) {
	if !f.Sure() {
		return nil, false
	}
	read := slices.Clone(f.last)
	for name := range f.fresh {
		info, err := os.Lstat(name)
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			f.sure = false
			return nil, false
		}
		at := f.index(name)
		if read[at], err = f.reader.one(name, most); err != nil {
			f.sure = false
			return nil, false
		}
		f.reader.known[name] = read[at]
	}
	f.last = read
	clear(f.fresh)
	return read, true
}

// index is the place of a file among those that were read, or negative.
func (f *Folder) index(name string) int {
	i, found := slices.BinarySearchFunc(f.last, name, func(file *File, name string) int { return strings.Compare(file.Name, name) })
	if !found {
		return -1
	}
	return i
}

// Overflow reports whether an error of a Watcher says that there were more events than it could keep.
func Overflow(err error) bool { return errors.Is(err, fsnotify.ErrEventOverflow) }

package resolver

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// maxFileBytes bounds what is read of a hosts file or resolv.conf.
	maxFileBytes = 8 << 20
	// mtimeGrain is coarser than the clock of any file system: a file changed less than this ago may change once more
	// and keep its time stamp, so it is read again.
	mtimeGrain = 2 * time.Second
)

// file is a parsed file that is read again when it changes.
type file[T any] struct {
	path  string
	parse func([]byte) T
	log   logr.Logger

	mu     sync.Mutex
	value  T
	loaded bool
	failed bool
	info   os.FileInfo // of what value was read from; nil: read again
}

// get returns the content of the file as it is now. While it cannot be read, what was read last stays in force
// (editors and mounts replace files by renaming), at first what parse makes of nothing.
func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.refresh()
	if err != nil && !f.loaded {
		f.value, f.loaded = f.parse(nil), true
	}
	if err != nil && !f.failed {
		f.log.Info("cannot read a file of the resolver; what was known of it stays in force", "path", f.path, "error", err.Error())
	}
	f.failed = err != nil
	return f.value
}

func (f *file[T]) refresh() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size() {
		return nil
	}
	data, err := readBounded(f.path)
	if err != nil {
		return err
	}
	f.value, f.loaded, f.info = f.parse(data), true, info
	if time.Since(info.ModTime()) < mtimeGrain {
		f.info = nil
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(in, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return data, nil
}

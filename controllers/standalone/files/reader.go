package files

import (
	"bytes"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A File is what was read under a name. It is immutable; what was read again and is the same is the same *File.
type File struct {
	Name string
	Data []byte

	stamp   stamp
	settled bool // nothing can have been written since without another stamp
}

// A Failure is why a file could not be read.
type Failure struct {
	Name string
	Err  error
}

// A Reader reads files, and those that it has read before only where they may have changed. Its zero value has read none.
type Reader struct {
	known map[string]*File
	opens atomic.Int64
}

// Opened is how many files were opened since the start, the others having been known.
func (r *Reader) Opened() int64 { return r.opens.Load() }

// A stamp tells versions of a file apart. The time of its last change is the system's, whatever time somebody gives the file.
type stamp struct {
	device, inode uint64
	size          int64
	changed       int64 // nanoseconds
}

// Times are as coarse as the system's clock tick, or on some file systems whole seconds: what was changed so shortly before
// it was read may have been changed again without another time.
const (
	tick       = 20 * time.Millisecond
	coarseTick = 2 * time.Second
)

func stampOf(info os.FileInfo) (s stamp, at time.Time) {
	s.size = info.Size()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return s, time.Now() // it is read every time
	}
	s.device, s.inode, s.changed = stat.Dev, stat.Ino, stat.Ctim.Nano()
	return s, time.Unix(0, s.changed)
}

// Read reads files, at most so many bytes of each and one more, several at the same time. It forgets those that are not
// among them. What cannot be read is among the failures, and not among the files.
func (r *Reader) Read(names []string, most int64) (read []*File, failures []Failure) {
	found, errs := make([]*File, len(names)), make([]error, len(names))
	Each(len(names), func(i int) { found[i], errs[i] = r.one(names[i], most) })
	known := make(map[string]*File, len(names))
	read = make([]*File, 0, len(names))
	for i, name := range names {
		if errs[i] != nil {
			failures = append(failures, Failure{name, errs[i]})
			continue
		}
		known[name] = found[i]
		read = append(read, found[i])
	}
	r.known = known
	return read, failures
}

func (r *Reader) one(name string, most int64) (*File, error) {
	before := r.known[name]
	if before != nil && before.settled {
		if info, err := os.Stat(name); err == nil {
			if now, _ := stampOf(info); now == before.stamp {
				return before, nil
			}
		}
	}
	begun := time.Now()
	r.opens.Add(1)
	data, info, err := read(name, most)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, Data: data}
	stamp, at := stampOf(info)
	settled := tick
	if at.Nanosecond() == 0 {
		settled = coarseTick
	}
	f.stamp, f.settled = stamp, begun.Sub(at) > settled
	if before == nil || !bytes.Equal(before.Data, data) {
		return f, nil
	}
	if before.stamp != f.stamp || before.settled != f.settled {
		// The same content: whoever has made something of it may keep that. Nobody reads the stamp but one, one at a time.
		before.stamp, before.settled = f.stamp, f.settled
	}
	return before, nil
}

// politeness is how long is worked until others may run: whoever waits for a processor, such as a request, would else wait
// for 10 ms. On a busy machine each time may cost as long as the others take, so it is not done more often.
const politeness = time.Millisecond

// Each calls do with every number below n, on as many goroutines as there are processors.
func Each(n int, do func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 || n < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			begun := time.Now()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
				if time.Since(begun) > politeness {
					runtime.Gosched()
					begun = time.Now()
				}
			}
		})
	}
	running.Wait()
}

package wire

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// SpliceMin is the least that is worth a pipe: below it, copying costs less than the two more system calls.
	SpliceMin = 16 << 10
	// spliceMost is the most that one call moves, so that progress is seen and a deadline can follow it.
	spliceMost = 1 << 20
)

// A pipe is what splice(2) moves bytes through: pages change hands inside the kernel and are never copied out of it.
type pipe struct {
	r, w    int
	cleanup runtime.Cleanup
}

// pipes keeps pipes open between bodies: making one takes three system calls, and closing it two. Those that the
// collector takes out of the pool are closed.
var pipes = sync.Pool{New: func() any {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return (*pipe)(nil)
	}
	// A larger pipe moves more a call. Where the user's pipe quota is used up, the usual 64 KiB do.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, spliceMost)
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closePipe, fds)
	return p
}}

func closePipe(fds [2]int) {
	_ = unix.Close(fds[0])
	_ = unix.Close(fds[1])
}

// discard closes a pipe that another body must not find.
func (p *pipe) discard() {
	p.cleanup.Stop()
	closePipe([2]int{p.r, p.w})
}

// A Side of a splice is told when it keeps the other one waiting, so that it can set and clear a deadline. Spurious asks
// whether a wait ended by a deadline that was not meant for it: the sweeper may be late by a request. It then clears
// that deadline.
type Side interface {
	Waits()
	Moved(n int)
	Spurious() bool
}

// A Headed Side is told when SpliceAfter needs the head no more.
type Headed interface{ HeadSent() }

// Splice moves n bytes from src to dst without copying them through this process. readSide tells which side an error
// came from. An EOF of src before n bytes is io.ErrUnexpectedEOF.
func Splice(dst, src TCP, n int64, to, from Side) (readSide bool, err error) {
	return SpliceAfter(nil, dst, src, n, to, from)
}

// SpliceAfter is Splice with a head that dst gets first. With ErrNoPipe nothing was sent; else the head was, or there is
// an error.
//
// What of the body is there already is taken into the pipe before the head is sent, so that the kernel can be told that
// more follows: one segment and one wake-up of the receiver less. The head does not wait for a body that is not there.
func SpliceAfter(head []byte, dst, src TCP, n int64, to, from Side) (readSide bool, err error) {
	reader, err := src.SyscallConn()
	if err != nil {
		return true, err
	}
	writer, err := dst.SyscallConn()
	if err != nil {
		return false, err
	}
	p := pipes.Get().(*pipe)
	if p == nil {
		return false, ErrNoPipe
	}
	held := 0 // bytes in the pipe
	defer func() {
		if held == 0 {
			pipes.Put(p)
		} else {
			p.discard() // another body must never find them
		}
	}()
	var got int
	var callErr error
	pull := func(fd uintptr) bool {
		got, callErr = spliceOnce(int(fd), p.w, int(min(spliceMost, n)))
		if callErr == unix.EAGAIN {
			from.Waits()
			return false
		}
		return true
	}
	push := func(fd uintptr) bool {
		got, callErr = spliceOnce(p.r, int(fd), held)
		if callErr == unix.EAGAIN {
			to.Waits()
			return false
		}
		return true
	}
	if len(head) > 0 {
		var more uintptr
		tryPull := func(fd uintptr) bool {
			got, callErr = spliceOnce(int(fd), p.w, int(min(spliceMost, n)))
			return true
		}
		// An error is met again below, when the head has been sent.
		if err := call(reader.Read, tryPull, from); err == nil && callErr == nil && got > 0 {
			held, more = got, unix.MSG_MORE
			from.Moved(got)
		}
		post := func(fd uintptr) bool {
			var k int
			k, callErr = sendFlags(int(fd), head, more)
			if callErr == unix.EAGAIN {
				to.Waits()
				return false
			}
			head = head[k:]
			return true
		}
		for len(head) > 0 {
			if err = call(writer.Write, post, to); err == nil {
				err = callErr
			}
			if err != nil && err != unix.EINTR {
				return false, err
			}
			to.Moved(0)
		}
		if h, ok := to.(Headed); ok {
			h.HeadSent()
		}
	}
	for n > 0 {
		if held == 0 {
			if err = call(reader.Read, pull, from); err == nil {
				err = callErr
			}
			if err != nil {
				return true, err
			}
			if got == 0 {
				return true, io.ErrUnexpectedEOF
			}
			held = got
			from.Moved(got)
		}
		for held > 0 {
			if err = call(writer.Write, push, to); err == nil {
				err = callErr
			}
			if err != nil {
				return false, err
			}
			held -= got
			n -= int64(got)
			to.Moved(got)
		}
	}
	return false, nil
}

// call runs a RawConn's Read or Write, through deadlines that were not meant for it.
func call(wait func(func(uintptr) bool) error, step func(uintptr) bool, s Side) error {
	for {
		err := wait(step)
		if !errors.Is(err, os.ErrDeadlineExceeded) || !s.Spurious() {
			return err
		}
	}
}

// spliceOnce is splice(2). It never waits, so Go's scheduler is not told: a long call would have
// the processor taken away and another thread woken. With 1 MiB bodies 23 % of the samples of a profile (perf) were task
// switches before, and under 5 % after.
func spliceOnce(from, to, most int) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most),
			unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// ErrNoPipe says that no pipe could be had (EMFILE): the caller copies instead.
var ErrNoPipe = syscall.EMFILE

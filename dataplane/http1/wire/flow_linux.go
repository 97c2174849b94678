package wire

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Flow moves what src sends to dst without copying it through this process, until src is silent for as long as patience, or
// has ended, which a read tells apart then. to is told what has been moved. With ErrNoPipe nothing was moved; readSide
// tells which side another error came from. It keeps no pipe between two calls: a connection that is silent for longer
// holds none. The caller sets the deadline for reading from src anew.
func Flow(dst, src *net.TCPConn, to Side, patience time.Duration) (readSide bool, err error) {
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
	held := 0
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
		got, callErr = spliceOnce(int(fd), p.w, spliceMost)
		if callErr == unix.EAGAIN {
			_ = src.SetReadDeadline(time.Now().Add(patience))
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
	_ = src.SetReadDeadline(time.Time{}) // one that has passed would hide what is there
	for {
		if err = reader.Read(pull); err == nil {
			err = callErr
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return true, err
		case got == 0:
			return false, nil
		}
		held = got
		for held > 0 {
			if err = call(writer.Write, push, to); err == nil {
				err = callErr
			}
			if err != nil {
				return false, err
			}
			held -= got
			to.Moved(got)
		}
	}
}

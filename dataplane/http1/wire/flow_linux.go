package wire

import (
	"net"

	"golang.org/x/sys/unix"
)

// Flow moves what src has now to dst without copying it through this process. It waits for dst, and not for src: more is
// false where src has nothing at the moment or has ended, which a read tells apart, and true where it has moved a good
// part and there may be more. to is told what has been moved. With ErrNoPipe nothing was moved; readSide tells which side
// another error came from. It keeps no pipe between two calls: a connection that is silent holds none.
func Flow(dst, src *net.TCPConn, to Side) (more, readSide bool, err error) {
	reader, err := src.SyscallConn()
	if err != nil {
		return false, true, err
	}
	writer, err := dst.SyscallConn()
	if err != nil {
		return false, false, err
	}
	p := pipes.Get().(*pipe)
	if p == nil {
		return false, false, ErrNoPipe
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
	pull := func(fd uintptr) {
		got, callErr = spliceOnce(int(fd), p.w, spliceMost)
	}
	push := func(fd uintptr) bool {
		got, callErr = spliceOnce(p.r, int(fd), held)
		if callErr == unix.EAGAIN {
			to.Waits()
			return false
		}
		return true
	}
	for total := 0; total < spliceMost; {
		if err = reader.Control(pull); err == nil {
			err = callErr
		}
		switch {
		case err == unix.EAGAIN:
			return false, false, nil
		case err != nil:
			return false, true, err
		case got == 0:
			return false, false, nil
		}
		held = got
		for held > 0 {
			if err = call(writer.Write, push, to); err == nil {
				err = callErr
			}
			if err != nil {
				return false, false, err
			}
			held -= got
			total += got
			to.Moved(got)
		}
	}
	return true, false, nil
}

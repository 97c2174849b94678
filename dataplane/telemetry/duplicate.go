package telemetry

import (
	"os"
	"syscall"
)

// Duplicate returns a file of its own for a standard stream. Go ends a program that writes to a broken pipe on
// descriptor 1 or 2; on another one the write fails, which a log survives. And closing it leaves the stream open.
func Duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dup int
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if dup, dupErr = syscall.Dup(int(fd)); dupErr == nil {
			syscall.CloseOnExec(dup)
		}
	})
	if err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("dup", dupErr)
	}
	return os.NewFile(uintptr(dup), f.Name()), nil
}

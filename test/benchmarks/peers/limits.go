package peers

import (
	"fmt"
	"math"
	"syscall"
)

// openFiles is how many open files a child may have at most, up to want.
func openFiles(want int) uint64 {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return uint64(want)
	}
	return min(lim.Max, uint64(want))
}

// RaiseOpenFiles lets this process, and those that it starts from now on, open at least want files. Only root may go over
// the hard limit.
func RaiseOpenFiles(want uint64) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	// Set even where it is enough already: the runtime raises this process' soft limit by itself but gives its children
	// the old one, unless the program has set the limit.
	raised := syscall.Rlimit{Cur: max(lim.Max, want), Max: max(lim.Max, want)}
	if lim.Max == math.MaxUint64 {
		raised.Cur = want
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		return fmt.Errorf("%d open files are needed, the hard limit is %d (raise it with ulimit -n or LimitNOFILE): %w", want, lim.Max, err)
	}
	return nil
}

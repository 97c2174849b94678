package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// These calls are made without the scheduler's knowledge. The thread has nothing else to do while it waits, and for sockets
// that never block the scheduler's book-keeping would be a few hundredths of what the relay costs.

func epollWait(epoll int, into []unix.EpollEvent) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), ^uintptr(0), 0, 0)
	return count(n, errno), errno
}

func receive(fd int, into []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), 0, 0, 0)
	return count(n, errno), errno
}

func send(fd int, data []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), unix.MSG_NOSIGNAL, 0, 0)
	return count(n, errno), errno
}

// count is the result of a call, nothing for one that has failed.
func count(n uintptr, errno unix.Errno) int {
	if errno != 0 {
		return 0
	}
	return int(n)
}

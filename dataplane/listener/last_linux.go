package listener

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ignoreNew lets the kernel drop the segments that begin a connection; those under way are finished. Without it a
// connection could be queued between the last accept and the close. It is no loss where it does not work.
func ignoreNew(ln *net.TCPListener) {
	const (
		flags    = 13 // the offset of the flags in the TCP header (RFC 9293 §3.1), with which a filter's data begins
		syn, ack = 0x02, 0x10
	)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	raw, err := ln.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter)
	})
}

// queued accepts what the kernel has queued, and does not wait.
func queued(ln *net.TCPListener) (conns []*net.TCPConn) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			accepted, _, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(accepted), "connection")
			nc, err := net.FileConn(f) // a copy: f is closed
			_ = f.Close()
			if err != nil {
				continue
			}
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.SetKeepAliveConfig(keepAlive)
				conns = append(conns, tcp)
			}
		}
	})
	return conns
}

package door

import "golang.org/x/sys/unix"

// IgnoreNew lets the kernel drop the segments that begin a connection; those under way are finished. Without it a
// connection could be queued between the last accept and the close. It is no loss where it does not work.
func (d *Door) IgnoreNew() {
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
	_ = d.raw.Control(func(fd uintptr) {
		filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter)
	})
}

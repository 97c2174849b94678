package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
)

const (
	// firstFD is the descriptor of the first socket that is passed (sd_listen_fds(3)).
	firstFD = 3
	// maxPassed bounds how many are looked at.
	maxPassed = 8192
)

// Passed returns the sockets that systemd passes to this process (socket activation). They stay open in systemd, which takes
// connections in their queues while nobody serves. The variables are taken away, so that no child believes itself meant.
func Passed() ([]listener.Socket, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		_ = os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // they are for another process, or for nobody
	}
	return passed(firstFD, count, names)
}

func passed(first int, count, names string) ([]listener.Socket, error) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxPassed {
		return nil, fmt.Errorf("LISTEN_FDS: %.40q is no number of sockets", count)
	}
	var out []listener.Socket
	for i := range n {
		fd := first + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return out, fmt.Errorf("LISTEN_FDS: there is no descriptor %d: %w", fd, err)
		}
		unix.CloseOnExec(fd)
		name, rest, _ := strings.Cut(names, ":")
		names = rest
		if name == "" {
			name = "unknown"
		}
		// The name is the socket unit's (FileDescriptorName), for messages: what a socket is for its address tells.
		out = append(out, listener.Socket{Role: "systemd", Address: name, Kept: true, FD: fd})
	}
	return out, nil
}

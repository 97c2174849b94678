package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// A Notifier tells the service manager of the states of the process. A nil one tells nobody.
type Notifier struct {
	address  string
	watchdog time.Duration // how long the manager waits for a sign of life; 0: it does not
	log      logr.Logger

	mu   sync.Mutex
	over bool // another process is the service now
}

// NewNotifier makes one of the environment: NOTIFY_SOCKET, and WATCHDOG_USEC with WATCHDOG_PID.
func NewNotifier(variable func(name string) string, log logr.Logger) *Notifier {
	n := &Notifier{address: variable("NOTIFY_SOCKET"), log: log}
	if pid := variable("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(variable("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return n
}

// Supervised says whether somebody listens.
func (n *Notifier) Supervised() bool { return n.address != "" }

// Ready says that the process serves, and in a line what.
func (n *Notifier) Ready(status string) { n.send("READY=1", "STATUS="+oneLine(status)) }

// Reloading says that a configuration is being read; Ready follows, however it ends.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // the clock is always there
	n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping says that the process is about to end.
func (n *Notifier) Stopping() { n.send("STOPPING=1", "STATUS=what runs is finished") }

// MainPID says that another process is the service from now on. Nothing is told afterwards: that one speaks for itself.
func (n *Notifier) MainPID(pid int) {
	n.send("MAINPID=" + strconv.Itoa(pid))
	n.Leave()
}

// Leave says nothing from now on.
func (n *Notifier) Leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
}

// Watch gives signs of life until ctx is over, twice as often as the manager demands.
func (n *Notifier) Watch(ctx context.Context) {
	if n.watchdog == 0 || n.address == "" {
		return
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		n.send("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Notifier) send(lines ...string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.address == "" || n.over {
		return
	}
	// An address that begins with @ is abstract (unix(7)); net knows that, too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a manager that does not read holds nobody up
		_, err = c.Write([]byte(strings.Join(lines, "\n")))
		_ = c.Close()
	}
	if err != nil {
		n.log.Error(err, "the service manager cannot be told", "state", lines[0])
	}
}

// oneLine keeps a text from being taken for several.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' }), " ")
}

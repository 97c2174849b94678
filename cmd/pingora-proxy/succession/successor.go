package succession

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/handover"
)

// A child is a process that this one has started to take its place.
type child struct {
	conn    *handover.Conn
	command *exec.Cmd
	ended   chan struct{}
	log     logr.Logger
}

// startChild starts the program that lies where this one was started from, which may be a newer one by now, with the
// same arguments.
func startChild(log logr.Logger) (*child, error) {
	program, err := programPath()
	if err != nil {
		return nil, err
	}
	conn, theirs, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	command := exec.Command(program, os.Args[1:]...) //nolint:gosec // what we were started with
	command.Args[0] = os.Args[0]
	// What systemd has said of this process (the sockets it was passed, whom it watches) does not hold for another.
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "LISTEN_") || strings.HasPrefix(v, "WATCHDOG_PID=")
	})
	command.Env = append(command.Env, inheritedMark+"=3")
	command.ExtraFiles = []*os.File{theirs}
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	c := &child{conn: conn, command: command, ended: make(chan struct{}), log: log}
	go func() {
		defer close(c.ended)
		err := command.Wait() // whoever starts a process must ask how it ended
		log.Info("the process that was to take this one's place has ended", "pid", c.pid(), "error", fmt.Sprint(err))
	}()
	return c, nil
}

// programPath is where this program was started from. A link on the way there is followed anew: it may lead to another
// version now.
func programPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil || errors.Is(err, exec.ErrDot) {
		return path, nil
	}
	return os.Executable()
}

func (c *child) pid() int { return c.command.Process.Pid }

// giveUp has a process that does not serve end: by itself, because its connection is closed, or by force where it has not
// ended after grace. It may finish what it has accepted. giveUp does not wait.
func (c *child) giveUp(grace time.Duration) {
	c.conn.Close()
	go func() {
		select {
		case <-c.ended:
		case <-time.After(grace):
			_ = c.command.Process.Kill()
		}
	}()
}

// A Successor is a process that is to take this one's place.
type Successor struct {
	handover.Hello
	Conn *handover.Conn
	// Ours says that it belongs to the same service (control group) as this process.
	Ours  bool
	child *child // nil: somebody else has started it
}

// Find starts the successor on SIGUSR2; else it waits for one that somebody else starts.
func (o *Options) Find(ctx context.Context, s os.Signal, log logr.Logger) (*Successor, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	out := &Successor{}
	var err error
	if s == syscall.SIGUSR2 {
		log.Info("starting the process that is to take this one's place")
		if out.child, err = startChild(log); err != nil {
			return nil, err
		}
		out.Conn = out.child.conn
		out.Hello, err = out.Conn.Greet(ctx, o.Timeout)
		out.PID = out.child.pid()
	} else {
		log.Info("handing the sockets over to the process that is started with --upgrade", "upgrade_socket", o.Socket, "timeout", o.Timeout.String())
		out.Conn, out.Hello, err = handover.Dial(ctx, o.Socket)
	}
	if err != nil {
		out.GiveUp(o.Timeout)
		return nil, err
	}
	out.Ours = sameControlGroup(out.PID)
	return out, nil
}

// GiveUp says that the successor does not serve. One that this process has started and that does not end by itself within
// grace is killed.
func (s *Successor) GiveUp(grace time.Duration) {
	if s.child != nil {
		s.child.giveUp(grace)
	}
}

// sameControlGroup says whether a process belongs to this one's service.
func sameControlGroup(pid int) bool {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return true
	}
	other, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	return err != nil || string(own) == string(other)
}

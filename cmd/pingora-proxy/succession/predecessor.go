package succession

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/handover"
)

// A Predecessor is the process whose place this one takes. A nil one is nobody.
type Predecessor struct {
	conn    *handover.Conn
	door    *handover.Door // nil: the predecessor has started this process
	Sockets []listener.Socket
	timeout time.Duration
}

// Await returns the process whose place this one takes when it has handed its sockets over; nil: none is wanted. admit has a
// last word about it. Of signals those that end a process are followed, and no others.
func (o *Options) Await(
	version, pidFile string, signals <-chan os.Signal, admit func(pid int) error, log logr.Logger,
) (*Predecessor, error) {
	if !o.Wanted && !o.Inherited() {
		return nil, nil
	}
	hello := handover.Hello{Version: version, Supervised: os.Getenv("NOTIFY_SOCKET") != ""}
	if pidFile != "" {
		hello.PIDFile, _ = filepath.Abs(pidFile)
	}
	b := &Predecessor{timeout: o.Timeout}
	err := b.await(o, hello, signals, log)
	if err == nil {
		if err = admit(b.PID()); err != nil {
			b.Refuse(err)
		}
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("--upgrade: %w", err)
	}
	log.Info("the sockets were handed over", "sockets", len(b.Sockets), "from", b.PID())
	return b, nil
}

func (b *Predecessor) await(o *Options, hello handover.Hello, signals <-chan os.Signal, log logr.Logger) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.Timeout, errors.New("nobody has handed sockets over in time: "+
		"send SIGQUIT to the process that serves"))
	defer cancel()
	receive, err := b.open(o, log)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() { received <- receive(ctx, hello) }()
	for {
		select {
		case err := <-received:
			return errors.Join(err, pending(signals))
		case s := <-signals:
			if err := ends(s); err != nil {
				cancel()
				if late := <-received; late != nil {
					log.V(1).Info("the hand-over was given up", "error", late.Error())
				}
				return err
			}
		}
	}
}

// open says how the predecessor is met.
func (b *Predecessor) open(o *Options, log logr.Logger) (receive func(context.Context, handover.Hello) error, err error) {
	if o.Inherited() {
		fd, err := strconv.Atoi(os.Getenv(inheritedMark))
		_ = os.Unsetenv(inheritedMark)
		if err == nil {
			b.conn, err = handover.Inherited(fd)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", inheritedMark, err)
		}
		return func(ctx context.Context, hello handover.Hello) (err error) {
			b.Sockets, err = b.conn.Receive(ctx, hello)
			return err
		}, nil
	}
	if b.door, err = handover.Listen(o.Socket, log); err != nil {
		return nil, err
	}
	log.Info("waiting for the sockets: send SIGQUIT to the process that serves", "upgrade_socket", o.Socket)
	return func(ctx context.Context, hello handover.Hello) (err error) {
		b.conn, b.Sockets, err = b.door.Await(ctx, hello)
		return err
	}, nil
}

// pending looks at the signals that have come. SIGQUIT may have been sent to all processes of the name: it is not meant for one
// that does not serve.
func pending(signals <-chan os.Signal) error {
	for {
		select {
		case s := <-signals:
			if err := ends(s); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func ends(s os.Signal) error {
	if s == syscall.SIGINT || s == syscall.SIGTERM {
		return fmt.Errorf("ended by a signal (%v)", s)
	}
	return nil
}

// PID is the id of its process; 0 of nobody's.
func (b *Predecessor) PID() int {
	if b == nil {
		return 0
	}
	return b.conn.PID
}

// Patience makes a data plane learn what the predecessor knows before it accepts.
func (b *Predecessor) Patience(o *dataplane.Options) {
	if b != nil {
		o.CheckPatience, o.ResolvePatience = min(checkPatience, b.timeout/4), min(resolvePatience, b.timeout/2)
	}
}

// Refuse tells the predecessor that it serves on, and why.
func (b *Predecessor) Refuse(err error) {
	if b != nil && b.conn != nil {
		b.conn.Refuse(err)
	}
}

// TakeOver makes the process the one that serves. With an error the predecessor serves on.
func (b *Predecessor) TakeOver(sockets *listener.Sockets) error {
	if b == nil {
		return nil
	}
	left := sockets.Settle()
	if len(b.Sockets) > 0 && len(left) == len(b.Sockets) {
		err := errors.New("none of the sockets that it hands over is of an address that this configuration names: is it the right process?")
		b.Refuse(err)
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	if err := b.conn.Take(ctx, left); err != nil {
		return err
	}
	sockets.Own()
	return nil
}

// Close ends the acquaintance, and lets others wait for a predecessor of theirs. It may have ended already.
func (b *Predecessor) Close() {
	if b == nil {
		return
	}
	if b.conn != nil {
		b.conn.Close()
	}
	if b.door != nil {
		b.door.Close()
		b.door = nil // what is there from now on is another one's
	}
}

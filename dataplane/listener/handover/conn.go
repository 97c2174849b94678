package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
)

const (
	// protocol is spoken on both sides. It changes when an old process would misunderstand a new one.
	protocol = "pingora-proxy-upgrade/1"
	// maxMessage bounds a message, in bytes.
	maxMessage = 64 << 10
	// perMessage is how many sockets go with one message. The kernel allows 253.
	perMessage = 64
	// maxSockets bounds the sockets of one process.
	maxSockets = 8192
	// lastWords is for how long a refusal may wait to be taken.
	lastWords = time.Second
)

// The steps of the conversation.
const (
	stepHello   = "hello"
	stepSockets = "sockets"
	stepServing = "serving"
	stepYours   = "yours"
	stepMine    = "mine"
	stepRefused = "refused"
)

// A Hello is how a new process introduces itself.
type Hello struct {
	Version    string `json:"version"`
	PID        int    `json:"-"`                    // as the kernel tells
	PIDFile    string `json:"pid_file,omitempty"`   // that it will write; absolute
	Supervised bool   `json:"supervised,omitempty"` // somebody has asked to be notified of its states (sd_notify)
}

type message struct {
	Step     string    `json:"step"`
	Protocol string    `json:"protocol,omitempty"`
	Hello    *Hello    `json:"hello,omitempty"`
	Sockets  []claimed `json:"sockets,omitempty"`
	More     bool      `json:"more,omitempty"` // sockets follow
	Left     []int     `json:"left,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// claimed is what is said of a socket that goes with a message.
type claimed struct {
	Role    listener.Role `json:"role"`
	Address string        `json:"address"`
	Kept    bool          `json:"kept,omitempty"`
}

// A RefusedError is the other side's reason not to go on.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return "the other process refuses: " + e.Reason }

// A Conn is the connection between an old process and a new one. Messages keep their bounds: it is of SOCK_SEQPACKET.
type Conn struct {
	unix *net.UnixConn
	// PID is the peer's process; that of this one where Pair has made the connection.
	PID int
}

// newConn makes one of a connection whose peer is trusted.
func newConn(c *net.UnixConn) (*Conn, error) {
	peer, err := credentials(c)
	if err == nil {
		err = trusted(peer.Uid)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &Conn{unix: c, PID: int(peer.Pid)}, nil
}

func credentials(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil {
		return nil, controlErr
	}
	return peer, err
}

// trusted returns an error unless a user may give and take sockets.
func trusted(uid uint32) error {
	if own := os.Geteuid(); uid != 0 && int(uid) != own {
		return fmt.Errorf("the other process is of user %d, this one of user %d: they must be the same", uid, own)
	}
	return nil
}

// Pair returns a connection, and its other end for a process that this one starts; that process makes a Conn of it with
// Inherited. Both are the caller's to close.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "upgrade")
	ours, err := Inherited(fds[0])
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Inherited makes a connection of a descriptor, which it closes.
func Inherited(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "upgrade")
	if f == nil {
		return nil, fmt.Errorf("there is no descriptor %d", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("descriptor %d is no UNIX socket", fd)
	}
	return newConn(uc)
}

// Close closes the connection.
func (c *Conn) Close() { _ = c.unix.Close() }

// Refuse tells the other side why this one does not go on, and closes.
func (c *Conn) Refuse(reason error) {
	_ = c.unix.SetDeadline(time.Now().Add(lastWords))
	text := reason.Error()
	_ = c.write(message{Step: stepRefused, Reason: text[:min(len(text), maxMessage/8)]}, nil)
	_ = c.unix.Close()
}

// within bounds what is done on the connection until done is called.
func (c *Conn) within(ctx context.Context) (done func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.unix.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// because says that ctx is why an error came about, where it is.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("not in time: %w", errors.Join(context.Cause(ctx), err))
	}
	return err
}

// write sends a message, and copies of sockets with it.
func (c *Conn) write(m message, fds []int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("the message %q is too long", m.Step)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.unix.WriteMsgUnix(b, rights, nil)
	return err
}

// read returns the next message, which must be of a step, with the descriptors that came with it. The other side's refusal is
// a *RefusedError, its end io.EOF.
func (c *Conn) read(step string) (m message, fds []int, err error) {
	b, control := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*256))
	n, controls, flags, _, err := c.unix.ReadMsgUnix(b, control)
	if errors.Is(err, unix.ECONNRESET) { // it has closed with something unread; its last words may lie behind
		n, controls, flags, _, err = c.unix.ReadMsgUnix(b, control)
	}
	if err != nil {
		return m, nil, err
	}
	if n == 0 && controls == 0 {
		return m, nil, io.EOF
	}
	fds, err = descriptors(control[:controls])
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > maxMessage:
		err = errors.New("the other process sends too much at once")
	default:
		err = json.Unmarshal(b[:n], &m)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("what the other process says is not understood: %w", err)
	case m.Step == stepRefused:
		err = &RefusedError{Reason: m.Reason}
	case m.Step != step:
		err = fmt.Errorf("the other process says %.40q where %q was to come", m.Step, step)
	case len(fds) != len(m.Sockets):
		err = fmt.Errorf("the other process names %d sockets and sends %d descriptors", len(m.Sockets), len(fds))
	}
	if err != nil {
		closeAll(fds)
		return message{}, nil, err
	}
	return m, fds, nil
}

// descriptors are those in the control messages of a message. With an error there are none left open.
func descriptors(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		some, rightsErr := unix.ParseUnixRights(&messages[i])
		fds, err = append(fds, some...), errors.Join(err, rightsErr)
	}
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
)

const (
	// delivery is how long one who comes may take to hand all of his sockets over.
	delivery = 15 * time.Second
	// maxPath is the longest path of a UNIX socket, in bytes.
	maxPath = 107
)

// A Door is where a new process waits.
type Door struct {
	path string
	ln   *net.UnixListener
	lock *os.File
	log  logr.Logger
}

// Listen waits at a path, for nobody but this user (and root). What a dead process has left there is replaced, but nothing
// that is not a socket; only one process can wait at a path.
func Listen(path string, log logr.Logger) (door *Door, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%s: is there already, and no socket", path)
	}
	// It is made in a folder that nobody else can enter and then moved, so that at no time it is open to others; and to move it
	// replaces what is there, a symbolic link too, and follows none.
	folder, err := os.MkdirTemp(filepath.Dir(path), ".upgrade-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	made := filepath.Join(folder, "s")
	if len(path) > maxPath || len(made) > maxPath {
		return nil, fmt.Errorf("%s: is too long for a socket", path)
	}
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: made, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return &Door{path: path, ln: ln, lock: lock, log: log}, nil
}

// lockFile takes a lock that ends with the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	var is unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &is)
	switch {
	case err != nil:
	case is.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("is no file")
	default:
		err = trusted(is.Uid)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: another process waits to take over already", path)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if now, err := os.Lstat(path); err != nil || !sameFile(now, &is) { // who held it has just taken it away
		_ = f.Close()
		return lockFile(path)
	}
	return f, nil
}

func sameFile(info os.FileInfo, is *unix.Stat_t) bool {
	now, ok := info.Sys().(*syscall.Stat_t)
	return ok && now.Dev == is.Dev && now.Ino == is.Ino
}

// Close waits no more, and takes the socket away.
func (d *Door) Close() {
	_ = os.Remove(d.path) // nobody else's: the lock is still held
	_ = d.ln.Close()
	_ = os.Remove(d.lock.Name())
	_ = d.lock.Close()
}

// Await waits for the old process and returns its sockets. Whoever comes and does not speak as one is sent away.
func (d *Door) Await(ctx context.Context, hello Hello) (*Conn, []listener.Socket, error) {
	stop := context.AfterFunc(ctx, func() { _ = d.ln.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		uc, err := d.ln.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
			return nil, nil, err
		}
		c, err := newConn(uc)
		if err == nil {
			var sockets []listener.Socket
			if sockets, err = c.receive(ctx, hello, delivery); err == nil {
				return c, sockets, nil
			}
		}
		d.log.Error(err, "somebody who is not the old process, or has given up, came to hand sockets over", "path", d.path)
	}
}

// Receive introduces the process and returns the sockets of the old one. With an error the connection is closed.
func (c *Conn) Receive(ctx context.Context, hello Hello) ([]listener.Socket, error) {
	return c.receive(ctx, hello, 0)
}

// receive waits no longer than patience; 0: for as long as ctx allows.
func (c *Conn) receive(ctx context.Context, hello Hello, patience time.Duration) (sockets []listener.Socket, err error) {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	done := c.within(ctx)
	defer func() {
		done()
		if err != nil {
			for _, s := range sockets {
				s.Close()
			}
			sockets, err = nil, because(ctx, err)
			c.Refuse(err)
		}
	}()
	if err := c.write(message{Step: stepHello, Protocol: protocol, Hello: &hello}, nil); err != nil {
		return nil, err
	}
	for {
		m, fds, err := c.read(stepSockets)
		if err != nil {
			return sockets, err
		}
		for i, s := range m.Sockets {
			sockets = append(sockets, listener.Socket{Role: s.Role, Address: s.Address, Kept: s.Kept, FD: fds[i]})
		}
		switch {
		case len(sockets) > maxSockets || m.More && len(m.Sockets) == 0:
			return sockets, errors.New("the other process hands over too many sockets")
		case !m.More:
			return sockets, nil
		}
	}
}

// Take says that this process serves, with all but the sockets in left, and returns nil when it is the one that goes on: the
// old one has let go, or is no more. With an error the old one serves on, and this one must end. The connection is closed
// then.
func (c *Conn) Take(ctx context.Context, left []int) error {
	defer c.Close()
	defer c.within(ctx)()
	if err := c.say(message{Step: stepServing, Left: left}); err != nil {
		return err
	}
	switch _, _, err := c.read(stepYours); {
	case isGone(err):
		return nil
	case err != nil:
		err = because(ctx, err)
		c.Refuse(err)
		return err
	}
	if err := c.say(message{Step: stepMine}); err != nil {
		return err
	}
	// It closes when it has let go. Where it takes its time it has let go all the same, unless it says otherwise.
	var refused *RefusedError
	if _, _, err := c.read(""); errors.As(err, &refused) {
		return err
	}
	return nil
}

// say sends a message. That nobody is there to read it is no error, unless he has said that he serves on.
func (c *Conn) say(m message) error {
	err := c.write(m, nil)
	if err == nil {
		return nil
	}
	var refused *RefusedError
	if _, _, readErr := c.read(""); errors.As(readErr, &refused) {
		return readErr
	}
	if isGone(err) {
		return nil
	}
	return err
}

// isGone says whether an error is the end of the other process.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

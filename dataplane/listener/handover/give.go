package handover

import (
	"context"
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
	// retryInterval is how often Dial looks whether somebody waits.
	retryInterval = 50 * time.Millisecond
	// greeting is how long a peer may take to its first word.
	greeting = 5 * time.Second
)

// Dial finds the process that waits at a path, which may begin to do so later, and returns it with how it introduces itself.
// It tries until ctx is over; the error says what stood in the way last.
func Dial(ctx context.Context, path string) (*Conn, Hello, error) {
	again := time.NewTicker(retryInterval)
	defer again.Stop()
	for {
		c, hello, err := dial(ctx, path)
		if err == nil {
			return c, hello, nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
				err = errors.New("nobody waits there")
			}
			return nil, Hello{}, fmt.Errorf("%s: %w", path, err)
		case <-again.C:
		}
	}
}

func dial(ctx context.Context, path string) (*Conn, Hello, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, Hello{}, err
	}
	if info.Mode().Type() != os.ModeSocket {
		return nil, Hello{}, errors.New("is no socket")
	}
	uc, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, Hello{}, err
	}
	c, err := newConn(uc)
	if err != nil {
		return nil, Hello{}, err
	}
	hello, err := c.Greet(ctx, greeting)
	if err != nil {
		c.Close()
		return nil, Hello{}, err
	}
	return c, hello, nil
}

// Greet waits for a new process to introduce itself, no longer than patience.
func (c *Conn) Greet(ctx context.Context, patience time.Duration) (Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer c.within(ctx)()
	m, _, err := c.read(stepHello)
	switch {
	case err != nil:
		return Hello{}, gone(because(ctx, err))
	case m.Protocol != protocol || m.Hello == nil:
		err := fmt.Errorf("the new process speaks %.40q, and this one %q", m.Protocol, protocol)
		c.Refuse(err)
		return Hello{}, err
	}
	m.Hello.PID = c.PID
	return *m.Hello, nil
}

// Give hands sockets over, and returns those that the new process does not want when that serves with the others. With an
// error nothing has changed: this process is the one that serves. Then the connection is closed; else the caller closes it
// once it has let go.
//
// The descriptors are copied; the caller's stay open.
func (c *Conn) Give(ctx context.Context, sockets []listener.Socket) (left []listener.Socket, err error) {
	done := c.within(ctx)
	defer func() {
		done()
		if err != nil {
			err = because(ctx, err)
			c.Refuse(err)
		}
	}()
	if len(sockets) > maxSockets {
		return nil, fmt.Errorf("%d sockets are more than can be handed over, which is %d", len(sockets), maxSockets)
	}
	for rest := sockets; ; {
		some := rest[:min(len(rest), perMessage)]
		rest = rest[len(some):]
		m := message{Step: stepSockets, More: len(rest) > 0}
		fds := make([]int, 0, len(some))
		for _, s := range some {
			m.Sockets = append(m.Sockets, claimed{Role: s.Role, Address: s.Address, Kept: s.Kept})
			fds = append(fds, s.FD)
		}
		if err := c.write(m, fds); err != nil {
			return nil, gone(err)
		}
		if !m.More {
			break
		}
	}
	m, _, err := c.read(stepServing)
	if err != nil {
		return nil, gone(err)
	}
	for _, i := range m.Left {
		if i < 0 || i >= len(sockets) {
			return nil, fmt.Errorf("the new process leaves socket %d, which there is not", i)
		}
		left = append(left, sockets[i])
	}
	if err := c.write(message{Step: stepYours}, nil); err != nil {
		return nil, gone(err)
	}
	if _, _, err := c.read(stepMine); err != nil {
		return nil, gone(err)
	}
	return left, nil
}

// gone names the end of the other process as what it is.
func gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errors.New("the new process has ended before it served")
	}
	return err
}

package wire

import (
	"errors"
	"net"
	"os"
	"time"
)

// An Unpolled is a connection that Go's poller knows nothing of.
type Unpolled struct{ file *os.File }

// NewUnpolled makes one of a connected socket, which is its own from now on.
func NewUnpolled(fd int) *Unpolled { return &Unpolled{os.NewFile(uintptr(fd), "connection")} }

// Conn makes a net.TCPConn of it. It may be called again where it fails: there may be no descriptor for the copy that package
// net makes on the way. Package net gives the connection keep-alive probes as it sees fit.
func (u *Unpolled) Conn() (*net.TCPConn, error) {
	nc, err := net.FileConn(u.file)
	if err != nil {
		return nil, err
	}
	_ = u.file.Close()
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("is no TCP socket"), nc.Close())
	}
	return tcp, nil
}

// Close closes the connection, where Conn has not succeeded.
func (u *Unpolled) Close() { _ = u.file.Close() }

const (
	// minPause and maxPause bound a Pause.
	minPause = 5 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// A Pause is waited for when there is no descriptor. Its zero value is the one before the first.
type Pause time.Duration

// Wait waits for twice as long as the last time.
func (p *Pause) Wait() {
	*p = Pause(min(max(2*time.Duration(*p), minPause), maxPause))
	time.Sleep(time.Duration(*p))
}

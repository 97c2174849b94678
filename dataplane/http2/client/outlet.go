package client

import (
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

const (
	// sendStall is how long an endpoint may take nothing of what was sent before its connection is given up.
	sendStall = 30 * time.Second
	// outletKeep is how much memory an outlet keeps between batches.
	outletKeep = 64 << 10
)

// An outlet is what leaves on one connection. Frames are appended to what waits; whoever finds nobody sending sends all of
// it, without waiting for the socket. What the socket does not take is left to a goroutine that waits for it.
//
// Over TLS that goroutine sends everything: a write that is cut short could not be gone on with.
type outlet struct {
	nc      net.Conn
	raw     syscall.RawConn // of plain TCP; nil: the goroutine sends everything
	drained func(error)     // what waited for the socket has left, or there was an error; no lock is held
	kick    chan struct{}   // hands the sending over to the goroutine
	quit    chan struct{}

	step  func(fd uintptr) // one closure a connection, not one a call
	batch []byte           // of step
	n     int
	errno error

	mu      sync.Mutex
	pending []byte
	spare   []byte
	busy    bool // somebody sends
	closing bool // the connection is closed when everything has left
	err     error
}

func (o *outlet) init(nc net.Conn, drained func(error)) {
	o.nc, o.drained = nc, drained
	o.kick, o.quit = make(chan struct{}, 1), make(chan struct{})
	o.step = func(fd uintptr) { o.n, o.errno = wire.Send(int(fd), o.batch) }
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			o.raw = raw
		}
	}
}

// begin returns what waits, for the caller to append frames to; end takes it back.
func (o *outlet) begin() []byte {
	o.mu.Lock()
	return o.pending
}

func (o *outlet) end(pending []byte) {
	o.pending = pending
	o.mu.Unlock()
}

// waiting returns how many bytes wait.
func (o *outlet) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending)
}

// flush sends what waits, unless somebody does already, who then takes it along.
func (o *outlet) flush() {
	o.mu.Lock()
	if o.busy || o.err != nil {
		o.mu.Unlock()
		return
	}
	for len(o.pending) > 0 {
		o.busy = true
		if o.raw == nil {
			o.mu.Unlock()
			o.kick <- struct{}{}
			return
		}
		o.batch, o.pending, o.spare = o.pending, o.spare[:0], nil
		o.mu.Unlock()
		err := o.raw.Control(o.step)
		if err == nil && o.errno != syscall.EAGAIN && o.errno != syscall.EINTR {
			err = o.errno
		}
		o.mu.Lock()
		batch, sent := o.batch, max(o.n, 0)
		o.batch = nil
		if err != nil {
			o.err, o.busy = err, false
			o.mu.Unlock()
			o.drained(err)
			return
		}
		if sent < len(batch) {
			o.pending = append(batch[:copy(batch, batch[sent:])], o.pending...)
			o.mu.Unlock()
			o.kick <- struct{}{}
			return
		}
		o.keep(batch)
	}
	o.busy = false
	o.mu.Unlock()
}

// keep keeps the memory of a batch that has left. The caller holds o.mu.
func (o *outlet) keep(batch []byte) {
	if cap(batch) <= outletKeep {
		o.spare = batch[:0]
	}
}

// run waits for the socket where others do not, until the outlet is closed.
func (o *outlet) run() {
	for {
		select {
		case <-o.quit:
			if o.raw == nil {
				o.leave()
			}
			return
		case <-o.kick:
		}
		o.mu.Lock()
		for len(o.pending) > 0 && o.err == nil {
			batch := o.pending
			o.pending, o.spare = o.spare[:0], nil
			o.mu.Unlock()
			_ = o.nc.SetWriteDeadline(time.Now().Add(sendStall))
			_, err := o.nc.Write(batch)
			o.mu.Lock()
			o.keep(batch)
			o.err = err
		}
		o.busy = false
		err := o.err
		o.mu.Unlock()
		o.drained(err)
	}
}

// leaveTime bounds how long saying good-bye over TLS may take.
const leaveTime = time.Second

// leave sends what waits and closes the connection. Over TLS nobody else writes.
func (o *outlet) leave() {
	o.mu.Lock()
	last, polite := o.pending, o.closing && o.err == nil
	o.pending = nil
	o.mu.Unlock()
	if polite {
		_ = o.nc.SetWriteDeadline(time.Now().Add(leaveTime))
		_, _ = o.nc.Write(last)
		_ = o.nc.Close()
	}
}

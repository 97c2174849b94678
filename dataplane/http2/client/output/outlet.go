package output

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

// An Outlet is what leaves on one connection. Frames are appended to what waits; whoever finds nobody sending sends all of
// it, without waiting for the socket. What the socket does not take is left to a goroutine that waits for it.
//
// Over TLS that goroutine sends everything: a write that is cut short could not be gone on with.
type Outlet struct {
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

// Init makes o the outlet of a connection. drained is called, with no lock held, when what waited for the socket has left, or
// there was an error.
func (o *Outlet) Init(nc net.Conn, drained func(error)) {
	o.nc, o.drained = nc, drained
	o.kick, o.quit = make(chan struct{}, 1), make(chan struct{})
	o.step = func(fd uintptr) { o.n, o.errno = wire.Send(int(fd), o.batch) }
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			o.raw = raw
		}
	}
}

// Begin returns what waits, for the caller to append frames to; End takes it back.
func (o *Outlet) Begin() []byte {
	o.mu.Lock()
	return o.pending
}

// End takes back what Begin returned.
func (o *Outlet) End(pending []byte) {
	o.pending = pending
	o.mu.Unlock()
}

// Waiting returns how many bytes wait.
func (o *Outlet) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending)
}

// Flush sends what waits, unless somebody does already, who then takes it along.
func (o *Outlet) Flush() {
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
func (o *Outlet) keep(batch []byte) {
	if cap(batch) <= outletKeep {
		o.spare = batch[:0]
	}
}

// Run waits for the socket where others do not, until the outlet is closed.
func (o *Outlet) Run() {
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

// Direct reports whether the socket is written to without that goroutine.
func (o *Outlet) Direct() bool { return o.raw != nil }

// Finish lets what waits leave before Close.
func (o *Outlet) Finish() {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.Flush()
}

// Close ends Run. Over TLS, behind Finish, that closes the connection, and tells its peer so. It is called once.
func (o *Outlet) Close() { close(o.quit) }

// leaveTime bounds how long saying good-bye over TLS may take.
const leaveTime = time.Second

// leave sends what waits and closes the connection. Over TLS nobody else writes.
func (o *Outlet) leave() {
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

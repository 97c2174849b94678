package listener

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// A Listener is a bound address. It accepts from Serve to Close.
type Listener struct {
	address string
	bound   *Bound // whose Sockets are closed: doors has what became of them
	doors   []*door.Door
	left    atomic.Bool // Leave was called
	gate    *Gate
	log     logr.Logger
	done    chan struct{} // closed when Serve has returned
	handle  func(nc *net.TCPConn, ends door.Ends)
	adopt   func(a *door.Arrival, ended func()) bool
	lookout Lookout
	leaving chan struct{} // closed by Close
	trouble door.Trouble
	refuse  func() // is told of each connection above the limit
	failed  func() // is told of each attempt to accept that failed
	serving atomic.Bool
	closing atomic.Bool
	closed  atomic.Bool
	silent  atomic.Bool // nothing is said to who is turned away
	conns   sync.WaitGroup
}

// Open binds an address, host:port with a literal IP or an empty host. An IPv4 wildcard binds IPv4 alone, an IPv6
// wildcard or an empty host both, as the addresses say.
func Open(ctx context.Context, address string, gate *Gate, log logr.Logger) (*Listener, error) {
	return (*Sockets)(nil).Open(ctx, address, gate, log)
}

// Silent says that clients speak no HTTP: those above the limit are told nothing.
func (l *Listener) Silent() { l.silent.Store(true) }

// A Lookout begins to call accept whenever connections may be queued at a door, and again for as long as it says that there
// may be more. It returns what ends that, and waits until it has ended.
type Lookout func(d *door.Door, accept func() (more bool)) (end func(), err error)

// Before has each connection given to adopt first, on the goroutine that accepts: where that returns true the connection is
// its own, and it calls ended when that is over. Connections are accepted where lookout says. It is called before Serve.
func (l *Listener) Before(adopt func(a *door.Arrival, ended func()) bool, lookout Lookout) {
	l.adopt, l.lookout = adopt, lookout
}

// Address is the address as it was configured.
func (l *Listener) Address() string { return l.address }

// Addr is the address that is bound; its port is the one chosen where 0 was asked for.
func (l *Listener) Addr() netip.AddrPort { return l.doors[0].Address() }

// Serve accepts until Close, and gives each connection to handle on a goroutine of its own. turnedAway is called for
// each connection above the limit, failed for each attempt to accept one that failed, by several goroutines at once.
func (l *Listener) Serve(handle func(nc *net.TCPConn, ends door.Ends), turnedAway, failed func()) {
	l.handle, l.refuse, l.failed = handle, turnedAway, failed
	l.serving.Store(true)
	defer close(l.done)
	var accepting sync.WaitGroup
	for _, d := range l.doors[1:] {
		accepting.Go(func() { l.accept(d) })
	}
	l.accept(l.doors[0])
	accepting.Wait()
}

// lastAccepts is for how long a closing listener still accepts.
const lastAccepts = 10 * time.Millisecond

// Close stops accepting. Connections that are open stay. Those that the kernel has queued already are accepted first:
// closing the socket would reset them, though the client's connect has succeeded. Serve must be running, or never be
// called.
//
// For these last moments the kernel is told to answer no new client: one is not refused, but asks again after a second,
// and then it is refused, or finds who listens there by then.
//
// A socket that another process holds as well is left to that one, and what it has queued with it.
func (l *Listener) Close() {
	if !l.closing.Swap(true) {
		close(l.leaving)
	}
	shared := l.isShared()
	if l.serving.Load() {
		for _, d := range l.doors {
			if shared {
				d.Until(time.Unix(1, 0))
				continue
			}
			d.IgnoreNew()
			d.Until(time.Now().Add(lastAccepts))
		}
		<-l.done
	}
	l.closed.Store(true)
	for _, d := range l.doors {
		d.Close()
	}
}

// Offer returns copies of the sockets, for the process that takes over; none, where Sockets keep them, which offer them
// themselves.
func (l *Listener) Offer() (out []Socket, err error) {
	if l.bound.Kept {
		return nil, nil
	}
	for _, d := range l.doors {
		fd, err := Duplicate(d)
		if err != nil {
			for _, o := range out {
				o.Close()
			}
			return nil, fmt.Errorf("the socket of %s: %w", l.address, err)
		}
		out = append(out, Socket{Role: Services, Address: l.address, FD: fd})
	}
	return out, nil
}

// Leave says that another process has the sockets, too: Close leaves them to it.
func (l *Listener) Leave() { l.left.Store(true) }

func (l *Listener) isShared() bool { return l.left.Load() || l.bound.Shared() }

// Closed reports whether Close was called.
func (l *Listener) Closed() bool { return l.closed.Load() }

// Wait returns when every connection that the listener accepted has ended.
func (l *Listener) Wait() { l.conns.Wait() }

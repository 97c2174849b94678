package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/congestion"
)

// A Listener is a bound address. It accepts from Serve to Close.
type Listener struct {
	address string
	bound   *Bound
	left    atomic.Bool // Leave was called
	gate    *Gate
	log     logr.Logger
	pace    congestion.Pace // what connections to other machines get back
	done    chan struct{}   // closed when Serve has returned
	handle  func(nc *net.TCPConn)
	adopt   func(nc *net.TCPConn, ended func()) bool
	refuse  func() // is told of each connection above the limit
	failed  func() // is told of each attempt to accept that failed
	serving atomic.Bool
	closed  atomic.Bool
	silent  atomic.Bool // nothing is said to who is turned away
	conns   sync.WaitGroup
}

// keepAlive probes find clients that vanished; the idle time-out would, too, but not in a tunnel that may be silent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// Open binds an address, host:port with a literal IP or an empty host. An IPv4 wildcard binds IPv4 alone, an IPv6
// wildcard or an empty host both, as the addresses say.
func Open(ctx context.Context, address string, gate *Gate, log logr.Logger) (*Listener, error) {
	return (*Sockets)(nil).Open(ctx, address, gate, log)
}

// Silent says that clients speak no HTTP: those above the limit are told nothing.
func (l *Listener) Silent() { l.silent.Store(true) }

// Before has each connection given to adopt first, on the goroutine that accepts: where that returns true it serves the
// connection, and calls ended when it is over. It is called before Serve.
func (l *Listener) Before(adopt func(nc *net.TCPConn, ended func()) bool) { l.adopt = adopt }

// Address is the address as it was configured.
func (l *Listener) Address() string { return l.address }

// Addr is the address that is bound; its port is the one chosen where 0 was asked for.
func (l *Listener) Addr() netip.AddrPort { return l.bound.Sockets[0].Addr().(*net.TCPAddr).AddrPort() }

// Serve accepts until Close, and gives each connection to handle on a goroutine of its own. turnedAway is called for
// each connection above the limit, failed for each attempt to accept one that failed.
func (l *Listener) Serve(handle func(nc *net.TCPConn), turnedAway, failed func()) {
	l.handle, l.refuse, l.failed = handle, turnedAway, failed
	l.serving.Store(true)
	defer close(l.done)
	var accepting sync.WaitGroup
	for _, tcp := range l.bound.Sockets[1:] {
		accepting.Go(func() { l.accept(tcp) })
	}
	l.accept(l.bound.Sockets[0])
	accepting.Wait()
}

// accept takes the connections of one socket until Close.
func (l *Listener) accept(tcp *net.TCPListener) {
	pause := time.Duration(0)
	var short shortage
	for {
		nc, err := tcp.AcceptTCP()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			// Out of descriptors, most likely. Accepting again at once would spin; those queued in the kernel wait.
			l.failed()
			if short.begins(time.Now()) {
				l.log.Error(err, "cannot accept connections for now; clients wait", "address", l.address)
			}
			pause = min(max(2*pause, minPause), maxPause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if !short.since.IsZero() && short.ends(time.Now()) {
			l.log.Info("connections are accepted again", "address", l.address)
		}
		if l.bound.Passed { // what net.ListenConfig does by itself
			_ = nc.SetKeepAliveConfig(keepAlive)
		}
		l.pace.AcceptedConn(nc)
		l.take(nc)
	}
	if l.isShared() {
		return // what is queued is accepted elsewhere
	}
	// On a busy machine the deadline may pass before this goroutine comes to accept what is queued.
	for _, nc := range queued(tcp) {
		l.pace.AcceptedConn(nc)
		l.take(nc)
	}
}

const (
	// minPause and maxPause bound the pause after a failed accept: it doubles for as long as they fail.
	minPause = 5 * time.Millisecond
	maxPause = 500 * time.Millisecond
	// shortageSilence is how long accepting must go well until a shortage counts as over, and how often the log is told of
	// one that lasts: at the limit every connection that ends lets one in, and the next one fails.
	shortageSilence = 30 * time.Second
)

// A shortage is a time in which connections cannot be accepted now and again.
type shortage struct {
	since, last time.Time // when the log was told, and when it was noticed last
}

// begins reports whether the log is to be told of a failure at now.
func (s *shortage) begins(now time.Time) bool {
	s.last = now
	if !s.since.IsZero() && now.Sub(s.since) < shortageSilence {
		return false
	}
	s.since = now
	return true
}

// ends reports whether the log is to be told that accepting goes well.
func (s *shortage) ends(now time.Time) bool {
	if now.Sub(s.last) < shortageSilence {
		return false
	}
	*s = shortage{}
	return true
}

// take gives a connection to its handler, or turns it away.
func (l *Listener) take(nc *net.TCPConn) {
	if !l.gate.enter() {
		l.refuse()
		if l.silent.Load() {
			_ = nc.SetLinger(0)
			_ = nc.Close()
			return
		}
		l.gate.turnAway(nc)
		return
	}
	l.conns.Add(1)
	ended := func() {
		l.gate.leave()
		l.conns.Done()
	}
	if l.adopt != nil && l.adopt(nc, ended) {
		return
	}
	go func() {
		defer ended()
		l.handle(nc)
	}()
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
	shared := l.isShared()
	if l.serving.Load() {
		for _, tcp := range l.bound.Sockets {
			if shared {
				_ = tcp.SetDeadline(time.Unix(1, 0))
				continue
			}
			ignoreNew(tcp)
			_ = tcp.SetDeadline(time.Now().Add(lastAccepts))
		}
		<-l.done
	}
	l.closed.Store(true)
	for _, tcp := range l.bound.Sockets {
		_ = tcp.Close()
	}
}

// Offer returns copies of the sockets, for the process that takes over; none, where Sockets keep them, which offer them
// themselves.
func (l *Listener) Offer() (out []Socket, err error) {
	if l.bound.Kept {
		return nil, nil
	}
	for _, tcp := range l.bound.Sockets {
		fd, err := Duplicate(tcp)
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

package loop

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// batch is how many events are asked for at a time.
	batch = 256
	// turn is how long a Loop that always has something to do goes on until other goroutines of its processor get one.
	turn = exchange.Nanos(500 * time.Microsecond)
	// between is how many requests and connections are begun until the Loop asks again what is ready. Responses go first: fewer
	// requests are under way then, and what one leaves behind is in the processor's caches when the next one takes it. With 400
	// clients at once an exchange takes 0.8 of the time that it took when all that was ready was served in its order, with 64 0.9
	// (16 and 64 in place of 32 are no better).
	between = 32
	// spare is how many coroutines are kept for later. One has a stack of its own, of about 8 KiB.
	spare = 256
)

// What a Socket is ready for, and what is waited for.
const (
	readable = 1 << iota
	writable
	hungUp // the peer has closed its side, or all of the connection
)

// A Loop serves Sockets. Everything that has no lock, and is not atomic, belongs to the goroutine that runs it.
type Loop struct {
	Index int // among those of its Group

	epoll, bell int
	file        *os.File        // of epoll, for Go's own poller: the Loop waits there while it has nothing to do
	wait        syscall.RawConn // of file
	look        func(fd uintptr) bool

	events  [batch]unix.EpollEvent
	queue   []*Socket // those that somebody waits for, which may have become ready; queue[:head] were looked at
	head    int
	fresh   []*Socket // those on which something may begin: a client's request, or a connection; fresh[:begun] were looked at
	begun   int
	later   []*Socket // those that go on when it was asked again what is ready
	sockets []*Socket // by what their events carry; 0 is the bell's
	vacant  []int32   // unused places among them
	idle    []*task
	turns   uint64
	since   exchange.Nanos // when others had their turn last
	waited  bool           // now, that is

	running atomic.Uint64 // which turn of a coroutine runs, for depose; 0: none

	mu     sync.Mutex
	posts  []post
	asleep bool
	closed bool
	done   chan struct{}
	aside  sync.WaitGroup // coroutines that have left
}

// A post is a message to the goroutine of a Loop.
type post struct {
	kind   postKind
	socket *Socket
	task   *task
	serve  func()
}

type postKind uint8

const (
	postAdd    postKind = iota // socket is new
	postKick                   // socket's deadline has passed
	postRemove                 // socket was closed
	postSettle                 // task has yielded, elsewhere
)

func newLoop() (*Loop, error) {
	l := &Loop{sockets: make([]*Socket, 1), done: make(chan struct{})}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(l.epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.bell, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET})
	if err == nil {
		err = unix.SetNonblock(l.epoll, true) // or os.NewFile would not take it to Go's poller
	}
	if err == nil {
		l.file = os.NewFile(uintptr(l.epoll), "epoll")
		l.wait, err = l.file.SyscallConn()
	}
	if err != nil {
		_ = unix.Close(l.epoll)
		_ = unix.Close(l.bell)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l.look = l.poll
	return l, nil
}

// run serves until close, or until depose has put another goroutine in its place.
func (l *Loop) run() {
	for {
		for l.head < len(l.queue) {
			s := l.queue[l.head]
			l.queue[l.head] = nil
			l.head++
			if deposed := l.dispatch(s); deposed {
				return
			}
		}
		for end := min(len(l.fresh), l.begun+between); l.begun < end; {
			s := l.fresh[l.begun]
			l.fresh[l.begun] = nil
			l.begun++
			s.listed = false
			if deposed := l.dispatch(s); deposed {
				return
			}
		}
		if l.begun >= len(l.fresh)/2 { // or it would grow for as long as there is always something to begin
			rest := copy(l.fresh, l.fresh[l.begun:])
			clear(l.fresh[rest:])
			l.fresh, l.begun = l.fresh[:rest], 0
		}
		l.queue, l.later, l.head = l.later, l.queue[:0], 0
		if l.takePosts() {
			if len(l.queue) == 0 {
				break
			}
			continue // what waits for a Socket that was closed just now ends first
		}
		if err := l.wait.Read(l.look); err != nil {
			break // the file was closed
		}
	}
	for _, t := range l.idle {
		t.stop()
	}
	l.idle = nil
	close(l.done)
}

// poll asks for events. It is called by Go's poller, which waits for the epoll instance to have some where poll returns
// false.
func (l *Loop) poll(uintptr) bool {
	now := exchange.Now()
	if l.waited {
		l.waited, l.since = false, now
	}
	if now-l.since > turn {
		// Go's scheduler looks for what other goroutines wait for when it has no other one to run. So the Loop waits,
		// too, for a bell that it rings itself.
		l.waited = true
		l.ring()
		return false
	}
	n := l.epollWait()
	if n == 0 && len(l.queue)+len(l.later)+len(l.fresh) > 0 {
		return true
	}
	if n == 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asleep = len(l.posts) == 0
		l.waited = l.asleep
		return !l.asleep
	}
	// All of them are marked before the first is served: an endpoint that has closed its connection is known to have
	// done so when a request that came in the same moment looks for one.
	for i := range l.events[:n] {
		e := &l.events[i]
		s := l.sockets[e.Fd]
		if s == nil {
			continue // the bell
		}
		ready := uint32(0)
		if e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			ready |= readable
		}
		if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			ready |= writable
		}
		if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			ready |= hungUp
		}
		s.ready.Or(ready)
		if (s.serve != nil || s.lookout != nil) && s.waiter == nil {
			l.list(s)
		} else {
			l.queue = append(l.queue, s)
		}
	}
	return true
}

// list has something begin on a Socket when its turn comes: once, however often there is news of it until then, or the list
// would grow, and everybody wait, by how much clients send.
func (l *Loop) list(s *Socket) {
	if !s.listed {
		s.listed = true
		l.fresh = append(l.fresh, s)
	}
}

// epollWait asks without waiting, so Go's scheduler is not told of the call.
func (l *Loop) epollWait() int {
	for {
		// unsafe: the kernel writes into events, which lives as long as the Loop does.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), batch, 0, 0, 0)
		if errno == 0 {
			return int(n)
		}
		if errno != unix.EINTR {
			return 0
		}
	}
}

// dispatch serves a Socket that may have become ready. It reports whether this goroutine was deposed meanwhile.
func (l *Loop) dispatch(s *Socket) (deposed bool) {
	ready := s.ready.Load()
	overdue := s.overdue.Load()
	switch {
	case s.waiter != nil:
		if ready&s.wants == 0 && !overdue && !s.lost.Load() {
			return false
		}
		t := s.waiter
		s.waiter = nil
		s.ready.And(^s.wants)
		return l.resume(t)
	case s.lookout != nil && !s.closed.Load() && ready&readable != 0:
		s.ready.And(^uint32(readable))
		if s.lookout.accept() {
			s.ready.Or(readable)
			l.list(s)
		}
	case s.serve != nil && s.task == nil && !s.closed.Load() && (ready&readable != 0 || overdue || s.lost.Load()):
		s.ready.And(^uint32(readable))
		t := l.coroutine()
		t.client, s.task = s, t
		return l.resume(t)
	}
	return false
}

// takePosts does what others have asked for. It reports whether the Loop ends.
func (l *Loop) takePosts() (ends bool) {
	l.mu.Lock()
	posts := l.posts
	l.posts, l.asleep = nil, false
	ends = l.closed // nothing comes any more
	l.mu.Unlock()
	for _, p := range posts {
		switch p.kind {
		case postAdd:
			p.socket.serve = p.serve // a kick may have come before
			l.add(p.socket)
		case postKick:
			l.queue = append(l.queue, p.socket)
		case postRemove:
			l.remove(p.socket)
		case postSettle:
			l.settle(p.task)
		}
	}
	return ends
}

// post sends a message, and wakes the Loop up for it.
func (l *Loop) post(p post) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		switch {
		case p.kind == postAdd && p.socket.lookout != nil:
			p.socket.lookout.opened <- net.ErrClosed
		case p.kind == postRemove && p.socket.fd >= 0:
			p.socket.release()
		}
		return
	}
	l.posts = append(l.posts, p)
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if wake {
		l.ring()
	}
}

func (l *Loop) ring() {
	// As a raw call, for the monitor of Go's scheduler sleeps until an idle process makes another one: it took 7 % of the
	// samples of a profile (perf, a new connection a request).
	one := uint64(1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.bell), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// add takes a new Socket. A client's is served at once, and watched when that has to wait: who connects to say something has
// mostly said it by now, and with a connection for each request it is over before it was waited for.
func (l *Loop) add(s *Socket) {
	switch {
	case s.closed.Load(): // remove follows
	case s.serve != nil:
		s.ready.Or(readable)
		l.list(s)
	case s.lookout != nil:
		s.lookout.opened <- l.watch(s)
	default:
		_ = l.watch(s) // whoever serves it is told
	}
}

// watch begins to watch a Socket, if that is not done. The kernel says at once what it is ready for.
func (l *Loop) watch(s *Socket) error {
	if s.place > 0 || s.closed.Load() || s.lost.Load() {
		return nil
	}
	if n := len(l.vacant); n > 0 {
		s.place = l.vacant[n-1]
		l.vacant = l.vacant[:n-1]
		l.sockets[s.place] = s
	} else {
		s.place = int32(len(l.sockets))
		l.sockets = append(l.sockets, s)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: s.place}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		// Out of memory, or of what a user may watch (epoll(7), max_user_watches).
		s.lost.Store(true)
		l.sockets[s.place] = nil
		l.vacant = append(l.vacant, s.place)
		s.place = 0
		l.later = append(l.later, s)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// remove forgets a Socket that was closed, and closes what is its own.
func (l *Loop) remove(s *Socket) {
	if s.place > 0 {
		l.sockets[s.place] = nil
		l.vacant = append(l.vacant, s.place)
		s.place = 0
	}
	if s.fd >= 0 {
		s.release()
	}
	if s.waiter != nil {
		s.overdue.Store(true)
		l.queue = append(l.queue, s)
	}
}

// close ends the Loop, whose Sockets are closed by then.
func (l *Loop) close() {
	l.aside.Wait()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ring()
	<-l.done
	_ = l.file.Close()
	_ = unix.Close(l.bell)
}

// depose puts another goroutine in the place of one that has been in a turn of a coroutine since the last look: it waits for
// something that the Loop knows nothing of, or computes. seen is what the last look returned.
func (l *Loop) depose(seen uint64) uint64 {
	now := l.running.Load()
	if now != 0 && now == seen && l.running.CompareAndSwap(now, 0) {
		go l.run()
	}
	return now
}

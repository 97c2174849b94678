package reliability

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A relay stands in front of an origin and passes bytes on, until it is told to spoil responses. The origin gets every
// request, and writes it down.
type relay struct {
	addr string

	listener net.Listener
	origin   string
	spoil    atomic.Pointer[spoiler]
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool // nil when it is closed
}

// A spoiler gets the first bytes of a response, and the connection on which the proxy waits for it, which is closed then.
type spoiler func(to *net.TCPConn, bytes []byte)

func startRelay(t *testing.T, origin string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: listener.Addr().String(), listener: listener, origin: origin, conns: map[net.Conn]bool{}}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for conn := range r.conns {
			_ = conn.Close()
		}
		r.conns = nil
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

// relays stand in front of origins.
func relays(t *testing.T, origins []string) (all []*relay, addrs []string) {
	t.Helper()
	for _, origin := range origins {
		r := startRelay(t, origin)
		all, addrs = append(all, r), append(addrs, r.addr)
	}
	return all, addrs
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(conn) })
	}
}

// keep reports whether a connection may go on; what is kept is closed with the relay.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	r.conns[conn] = true
	return true
}

func (r *relay) drop(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
}

func (r *relay) serve(conn net.Conn) {
	defer r.drop(conn)
	to, ok := conn.(*net.TCPConn)
	if !ok || !r.keep(conn) {
		return
	}
	origin, err := net.Dial("tcp", r.origin) //nolint:noctx // local
	if err != nil {
		return
	}
	defer r.drop(origin)
	if !r.keep(origin) {
		return
	}
	r.running.Go(func() {
		_, _ = io.Copy(origin, conn)
		_ = origin.Close()
	})
	buffer := make([]byte, 8<<10)
	for {
		n, err := origin.Read(buffer)
		if err != nil {
			return
		}
		if spoil := r.spoil.Load(); spoil != nil {
			(*spoil)(to, buffer[:n])
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

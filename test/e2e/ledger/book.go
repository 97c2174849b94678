package ledger

import (
	"bufio"
	"net"
	"strings"
	"sync"
)

// A Book listens for Writers and counts what they have received.
type Book struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	times map[entry]map[string]int // how often each id has come
}

type entry struct{ method, target string }

// Open opens an empty book on a free port of an IP address.
func Open(ip string) (*Book, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0")) //nolint:noctx // local
	if err != nil {
		return nil, err
	}
	b := &Book{listener: listener, conns: map[net.Conn]bool{}, times: map[entry]map[string]int{}}
	b.running.Go(b.accept)
	return b, nil
}

// Addr is where Writers reach it.
func (b *Book) Addr() string { return b.listener.Addr().String() }

// Close ends it, and returns when no goroutine is left.
func (b *Book) Close() {
	_ = b.listener.Close()
	b.mu.Lock()
	for conn := range b.conns {
		_ = conn.Close()
	}
	b.conns = nil
	b.mu.Unlock()
	b.running.Wait()
}

func (b *Book) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.conns == nil {
			b.mu.Unlock()
			_ = conn.Close()
			return
		}
		b.conns[conn] = true
		b.mu.Unlock()
		b.running.Go(func() { b.read(conn) })
	}
}

func (b *Book) read(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 4 { // the last one is a full stop
			continue // a killed Writer has not finished the line
		}
		e := entry{words[0], words[2]}
		b.mu.Lock()
		if b.times[e] == nil {
			b.times[e] = map[string]int{}
		}
		b.times[e][words[1]]++
		b.mu.Unlock()
	}
	b.mu.Lock()
	delete(b.conns, conn)
	b.mu.Unlock()
}

// Received says how many different requests with a method and a target upstreams have received, and how many of them
// more than once.
func (b *Book) Received(method, target string) (received, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := b.times[entry{method, target}]
	for _, times := range ids {
		if times > 1 {
			twice++
		}
	}
	return len(ids), twice
}

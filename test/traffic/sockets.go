package traffic

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// Sockets are open WebSockets, as far as a proxy can tell: upgraded connections on which each message must come back
// before the next one is sent. The origin must be an Echo.
type Sockets struct {
	conns    []net.Conn
	stop     chan struct{}
	stopped  sync.Once
	running  sync.WaitGroup
	messages atomic.Int64

	mu     sync.Mutex
	losses []string
}

// OpenSockets opens so many of them, and lets each send a message after every pause.
func OpenSockets(t testing.TB, addr string, n int, pause time.Duration) *Sockets {
	t.Helper()
	s := &Sockets{stop: make(chan struct{})}
	t.Cleanup(func() {
		s.Stop()
		s.Close()
	})
	for i := range n {
		conn, reader, err := upgrade(addr)
		if err != nil {
			t.Fatalf("WebSocket %d: %v", i, err)
		}
		s.conns = append(s.conns, conn)
		s.running.Go(func() {
			if err := s.talk(conn, reader, i, pause); err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.losses = append(s.losses, fmt.Sprintf("WebSocket %d: %v", i, err))
			}
		})
	}
	return s
}

func upgrade(addr string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", addr, harness.Patience)
	if err != nil {
		return nil, nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, nil, fmt.Errorf("%T", conn)
	}
	stream := patient{tcp}
	reader := bufio.NewReader(stream)
	_, err = io.WriteString(stream, "GET /socket HTTP/1.1\r\nHost: load\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err == nil {
		err = switched(reader)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return stream, reader, nil
}

func switched(reader *bufio.Reader) error {
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(response.Status)
	}
	return nil
}

func (s *Sockets) talk(conn net.Conn, reader *bufio.Reader, number int, pause time.Duration) error {
	for n := 0; ; n++ {
		select {
		case <-time.After(pause):
		case <-s.stop:
			return nil
		}
		message := fmt.Sprintf("%d says %d\n", number, n)
		if _, err := io.WriteString(conn, message); err != nil {
			return err
		}
		got, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("after %d messages: %w", n, err)
		}
		if got != message {
			return fmt.Errorf("%q came back for %q", got, message)
		}
		s.messages.Add(1)
	}
}

// Messages is how many have come back so far.
func (s *Sockets) Messages() int { return int(s.messages.Load()) }

// Stop ends the talking, leaves the connections open until the end of the test, and says which of them were lost.
func (s *Sockets) Stop() (losses []string) {
	s.stopped.Do(func() { close(s.stop) })
	return s.Wait()
}

// Close closes the connections of those that do not talk any more, which the end of the test does, too.
func (s *Sockets) Close() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// Wait returns when every WebSocket has been lost, or Stop was called, and says which were lost.
func (s *Sockets) Wait() (losses []string) {
	s.running.Wait()
	return s.losses
}

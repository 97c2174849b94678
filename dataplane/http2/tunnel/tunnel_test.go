package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// near is a stream that is a connection.
type near struct {
	*net.TCPConn
	interrupted chan struct{}
	once        *sync.Once // both directions may interrupt it
}

func (n *near) wait(by exchange.Nanos) {
	_ = n.SetDeadline(time.Now().Add(time.Duration(by - exchange.Now())))
}

func (n *near) Read(p []byte, by exchange.Nanos) (int, error) {
	n.wait(by)
	select {
	case <-n.interrupted:
		return 0, net.ErrClosed
	default:
		return n.TCPConn.Read(p)
	}
}

func (n *near) Write(p []byte, _ exchange.Nanos) (int, error) {
	k, err := n.TCPConn.Write(p[:min(len(p), 3)])
	if errors.Is(err, os.ErrDeadlineExceeded) { // that of reading
		err = nil
	}
	return k, err
}
func (n *near) Flush() {}
func (n *near) Interrupt() {
	n.once.Do(func() { close(n.interrupted) })
	_ = n.SetDeadline(time.Unix(1, 0))
}
func (n *near) Gone() bool { return false }

type far struct{ *net.TCPConn }

func (far) Buffered() []byte { return []byte("early ") }

func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = x.Close(), y.Close() })
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

type result struct {
	in, out int64
	err     error
}

// open runs a tunnel between two connections, and returns their other ends.
func open(t *testing.T, idle time.Duration) (client, endpoint *net.TCPConn, ended chan result) {
	t.Helper()
	client, n := pair(t)
	endpoint, f := pair(t)
	ended = make(chan result, 1)
	go func() {
		in, out, err := Run(&near{n, make(chan struct{}), new(sync.Once)}, far{f}, idle)
		ended <- result{in, out, err}
	}()
	return client, endpoint, ended
}

func TestBothWays(t *testing.T) {
	client, endpoint, ended := open(t, time.Minute)
	_, _ = client.Write([]byte("from the client"))
	_ = client.CloseWrite()
	if got, err := io.ReadAll(endpoint); err != nil || string(got) != "from the client" {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = endpoint.Write([]byte("from the endpoint")) // its direction is open still
	_ = endpoint.CloseWrite()
	if got, err := io.ReadAll(client); err != nil || string(got) != "early from the endpoint" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; r.err != nil || r.in != 15 || r.out != 23 {
		t.Errorf("%+v", r)
	}
}

func TestIdle(t *testing.T) {
	_, _, ended := open(t, 50*time.Millisecond)
	if r := <-ended; !errors.Is(r.err, ErrIdle) {
		t.Errorf("%+v", r)
	}
}

func TestOneDirectionKeepsTheOtherOpen(t *testing.T) {
	const idle = time.Second
	client, endpoint, ended := open(t, idle)
	for range 6 {
		_, _ = client.Write([]byte("x"))
		if _, err := endpoint.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-ended:
			t.Fatalf("%+v", r)
		case <-time.After(idle / 4):
		}
	}
	_ = client.CloseWrite()
	_ = endpoint.CloseWrite()
	if r := <-ended; r.err != nil {
		t.Errorf("%+v", r)
	}
}

func TestReset(t *testing.T) {
	_, endpoint, ended := open(t, time.Minute)
	_ = endpoint.SetLinger(0)
	_ = endpoint.Close()
	if r := <-ended; r.err == nil {
		t.Errorf("%+v", r)
	}
}

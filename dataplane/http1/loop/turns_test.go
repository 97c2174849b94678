package loop

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of many requests that are there at once few are under way at a time, if they are answered as fast as they are begun: what can
// go on comes before what may begin. Here each one that begins makes the one before it ready.
func TestResponsesGoFirst(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	const requests = 5 * between
	var underWay, most, served int
	done := make(chan struct{})
	var before *net.TCPConn
	for i := range requests {
		client, _ := pair(t, l)
		endpoint, far := pair(t, l)
		wake := []*net.TCPConn{before}
		if i == requests-1 {
			wake = append(wake, far)
		}
		before = far
		endpoint.Start(nil)
		client.Start(func() {
			if underWay++; underWay > most {
				most = underWay
			}
			for _, nc := range wake {
				if nc != nil {
					_, _ = nc.Write([]byte("x"))
				}
			}
			endpoint.Follow(client)
			if _, err := endpoint.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			underWay--
			if served++; served == requests {
				close(done)
			}
			_ = client.Close()
		})
	}
	go l.run()
	select {
	case <-done:
	case <-time.After(patient):
		t.Fatal("some are forgotten")
	}
	l.close()
	if most > between+1 {
		t.Errorf("%d were under way at once, want at most %d", most, between+1)
	}
	if cap(l.fresh) > 4*requests {
		t.Errorf("there is memory for %d that may begin, of %d", cap(l.fresh), requests)
	}
}

// A client's connection that cannot be watched is served once more, so that it can end.
func TestLostClient(t *testing.T) {
	l := start(t)
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0) // a regular file: epoll_ctl refuses it
	if err != nil {
		t.Fatal(err)
	}
	s := l.Take(fd, netip.AddrPort{})
	turns := make(chan bool, 8)
	s.Start(func() {
		lost := s.Lost()
		if lost {
			_ = s.Close()
		}
		turns <- lost
	})
	for lost := false; !lost; {
		select {
		case lost = <-turns:
		case <-time.After(patient):
			t.Fatal("nobody tells that it is lost")
		}
	}
}

// A connection that always has more to read has a turn between those of others, and not many in a row.
func TestAgainComesLast(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	other, far := pair(t, l)
	busy, _ := pair(t, l)
	turns, before := 0, make(chan int, 1)
	other.Start(func() {
		if turns == 0 { // it is new: nothing was sent yet
			return
		}
		before <- turns
		_ = other.Close()
	})
	busy.Start(func() {
		if turns++; turns == 1 {
			_, _ = far.Write([]byte("x"))
		}
		if turns < 10*between {
			busy.Again()
		}
	})
	go l.run()
	select {
	case n := <-before:
		if n > 2 {
			t.Errorf("another one has had %d turns before", n)
		}
	case <-time.After(patient):
		t.Error("it is forgotten")
	}
	_ = busy.Close()
	l.close()
}

// A connection of which there is news again and again waits once for its turn.
func TestListedOnce(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	const clients = 3 * between
	var sockets [clients]*Socket
	var fars [clients]*net.TCPConn
	turns, most, next := 0, 0, 0
	done := make(chan struct{})
	for i := range clients {
		sockets[i], fars[i] = pair(t, l)
	}
	for _, s := range sockets {
		s.Start(func() {
			_, _ = unix.Read(s.FD(), make([]byte, 4096))
			most = max(most, len(l.fresh)-l.begun)
			if turns++; turns == 20*clients {
				close(done)
			}
			if turns > 20*clients {
				return
			}
			for range 10 { // more news than there are turns
				_, _ = fars[next%clients].Write([]byte("x"))
				next++
			}
		})
	}
	go l.run()
	select {
	case <-done:
	case <-time.After(patient):
		t.Error("some are forgotten")
	}
	for _, s := range sockets {
		_ = s.Close()
	}
	l.close()
	if most > clients {
		t.Errorf("%d waited for a turn, of %d", most, clients)
	}
}

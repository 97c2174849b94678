package faulty

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A NameServer answers every query as it is told, with a TTL of a second, or fails. Its fields are changed with Set.
type NameServer struct {
	// Addr is where it listens, over UDP.
	Addr netip.AddrPort

	// Addrs are the IPv4 addresses of every name that Names does not have.
	Addrs []netip.Addr
	// Names are the addresses of single names, which end with a dot.
	Names map[string][]netip.Addr
	// RCode is that of the answers. What is not a success has no addresses.
	RCode dnsmessage.RCode
	// Mute is one that does not answer at all.
	Mute bool

	mu    sync.Mutex
	asked int
}

// StartNameServer starts one, which ends with the test.
func StartNameServer(t testing.TB, addrs ...netip.Addr) *NameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &NameServer{Addr: netip.MustParseAddrPort(conn.LocalAddr().String()), Addrs: addrs}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve(t, conn)
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return s
}

func (s *NameServer) serve(t testing.TB, conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		answer, err := s.answer(buf[:n])
		if err != nil {
			t.Errorf("name server: %v", err)
			continue
		}
		if answer != nil {
			_, _ = conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

func (s *NameServer) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.Mute {
		return nil, nil
	}
	m.Response, m.RCode, m.Additionals = true, s.RCode, nil
	q := m.Questions[0]
	addrs, ok := s.Names[q.Name.String()]
	if !ok {
		addrs = s.Addrs
	}
	for _, a := range addrs {
		if q.Type == dnsmessage.TypeA && s.RCode == dnsmessage.RCodeSuccess {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: a.As4()},
			})
		}
	}
	return m.Pack()
}

// Set changes what it answers, and counts questions anew.
func (s *NameServer) Set(change func(s *NameServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	s.asked = 0
}

// Questions is how many have come since Set.
func (s *NameServer) Questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

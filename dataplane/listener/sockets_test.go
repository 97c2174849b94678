package listener

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

func TestFits(t *testing.T) {
	for _, c := range []struct {
		bound, address string
		want           bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "0.0.0.0:80", false},
		{"127.0.0.1:80", ":80", false},
		{"0.0.0.0:80", "0.0.0.0:80", true},
		{"0.0.0.0:80", ":80", true},
		{"0.0.0.0:80", "[::]:80", false},
		{"[::]:80", "[::]:80", true},
		{"[::]:80", ":80", true},
		{"[::]:80", "0.0.0.0:80", false}, // takes IPv6 clients, which nobody has asked for
		{"[::1]:80", "[0:0::1]:80", true},
		{"[::1]:80", "[::1]:0", false},
		{"[::1]:80", "localhost:80", false},
		{"[::1]:80", "80", false},
		{"[fe80::1%1]:80", "[fe80::1%lo]:80", true},
	} {
		if got := fits(netip.MustParseAddrPort(c.bound), c.address); got != c.want {
			t.Errorf("%s fits %s: %v", c.bound, c.address, got)
		}
	}
}

// passing returns a copy of a listener's socket, as another process would have it.
func passing(t *testing.T, ln net.Listener, role Role, address string, kept bool) Socket {
	t.Helper()
	fd, err := Duplicate(ln.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	return Socket{Role: role, Address: address, Kept: kept, FD: fd}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestSocketsAreTakenByRoleAndAddress(t *testing.T) {
	services, admin, kept, unwanted := listen(t), listen(t), listen(t), listen(t)
	const free = "127.0.0.1:0"
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	noSocket, err := duplicate(file.Fd())
	if err != nil {
		t.Fatal(err)
	}
	s, refused := NewSockets([]Socket{
		{Role: Services, Address: "x", FD: noSocket},
		passing(t, services, Services, free, false), passing(t, admin, Admin, free, false),
		passing(t, unwanted, Services, "127.0.0.3:0", false), passing(t, kept, "systemd", "web", true),
	})
	defer s.Close()
	if len(refused) != 1 {
		t.Errorf("%v", refused)
	}
	if _, err := unix.FcntlInt(uintptr(noSocket), unix.F_GETFD, 0); err == nil {
		t.Error("what cannot be used is open")
	}
	take := func(role Role, address string, want net.Listener, wantKept bool) {
		t.Helper()
		got, keeps, err := s.Take(role, address)
		if err != nil || keeps != wantKept || want == nil && len(got) > 0 || want != nil && len(got) != 1 {
			t.Fatalf("%s %s: %v, kept %v, %v", role, address, got, keeps, err)
		}
		for _, ln := range got {
			if ln.Addr().String() != want.Addr().String() {
				t.Errorf("%s %s: %v, want %v", role, address, ln.Addr(), want.Addr())
			}
			_ = ln.Close()
		}
	}
	if unused := s.Unused(); len(unused) != 1 || unused[0] != kept.Addr().String() {
		t.Errorf("%q", unused)
	}
	take(Admin, free, admin, false)
	take(Services, free, services, false)
	take(Services, free, nil, false)                 // taken
	take(Metrics, free, nil, false)                  // another role's
	take(Services, kept.Addr().String(), kept, true) // by its address
	take(Metrics, kept.Addr().String(), kept, true)  // as often as anybody likes: it is kept
	take(Services, unwanted.Addr().String()+"0", nil, false)
	if left := s.Settle(); len(left) != 1 || left[0] != 3 {
		t.Errorf("left: %v", left)
	}
	if unused := s.Unused(); len(unused) > 0 {
		t.Errorf("%q", unused)
	}
	offered, err := s.Offer()
	if err != nil || len(offered) != 1 || !offered[0].Kept {
		t.Errorf("%v %v", offered, err)
	}
	for _, o := range offered {
		o.Close()
	}
}

// Several sockets of one address (SO_REUSEPORT) are all accepted from.
func TestSocketsThatShareAnAddress(t *testing.T) {
	config := net.ListenConfig{}
	config.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}
	first, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second, err := config.Listen(t.Context(), "tcp4", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	s, refused := NewSockets([]Socket{passing(t, first, Services, "", false), passing(t, second, Services, "", false)})
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	_, _ = first.Close(), second.Close()
	l, err := s.Open(t.Context(), address, &Gate{}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	s.Own()
	served := make(chan struct{})
	go func() {
		defer close(served)
		l.Serve(greet, func() {}, func() {})
	}()
	for range 50 {
		nc, err := net.Dial("tcp", address) //nolint:noctx // local
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := nc.Read(b[:]); err != nil {
			t.Error(err)
		}
		_ = nc.Close()
	}
	for !l.serving.Load() {
	}
	l.Close()
	<-served
	l.Wait()
}

// A socket that another process has as well is left to it when it is closed, with what it has queued.
func TestCloseLeavesAQueueToTheOther(t *testing.T) {
	other := listen(t)
	s, _ := NewSockets([]Socket{passing(t, other, Services, "", false)})
	l, err := s.Open(t.Context(), other.Addr().String(), &Gate{}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	l.serving.Store(true)
	go func() {
		defer close(served)
		l.Serve(greet, func() {}, func() {})
	}()
	l.Close()
	<-served
	client, err := net.Dial("tcp", other.Addr().String()) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
}

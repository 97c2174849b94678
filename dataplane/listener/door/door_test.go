package door

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for. Nothing waits for so long unless it is broken.
const patience = 20 * time.Second

func open(t *testing.T, address string) *Door {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // IgnoreNew knows TCP alone
	ln, err := config.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	d, err := New(ln.(*net.TCPListener), Nobody)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc.(*net.TCPConn)
}

// arrivals waits for n connections.
func arrivals(t *testing.T, d *Door, n int) (all []*Arrival) {
	t.Helper()
	d.Until(time.Now().Add(patience))
	for len(all) < n {
		over, err := d.Await(func(a *Arrival) { all = append(all, a) })
		if over || err != nil {
			t.Fatalf("%d connections have come; over: %t, error: %v", len(all), over, err)
		}
	}
	t.Cleanup(func() {
		for _, a := range all {
			if a.left == nil {
				_ = unix.Close(a.FD)
			}
		}
	})
	return all
}

// TestAddresses compares the addresses of what is accepted with those that package net tells the client.
func TestAddresses(t *testing.T) {
	for _, c := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.2"},
		{"[::1]:0", "::1"},
		{"[::]:0", "::1"},
		{"[::]:0", "127.0.0.1"},
	} {
		t.Run(c.listen+" "+c.dial, func(t *testing.T) {
			d := open(t, c.listen)
			client := dial(t, netip.AddrPortFrom(netip.MustParseAddr(c.dial), d.Address().Port()).String())
			got := arrivals(t, d, 1)[0].Ends
			plain := func(a netip.AddrPort) string { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String() }
			if plain(got.Remote) != client.LocalAddr().String() || plain(got.Local) != client.RemoteAddr().String() {
				t.Errorf("%+v, where the client has %s and %s", got, client.LocalAddr(), client.RemoteAddr())
			}
		})
	}
}

// TestZone: a zone has the name that package net gives it.
func TestZone(t *testing.T) {
	link, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("there is no lo: ", err)
	}
	at := AddressOf(&syscall.SockaddrInet6{Addr: netip.MustParseAddr("fe80::1").As16(), ZoneId: uint32(link.Index), Port: 80})
	if got := named(at).String(); got != "[fe80::1%lo]:80" {
		t.Error(got)
	}
	gone := netip.MustParseAddrPort("[fe80::1%2147483647]:80")
	if got := named(gone); got != gone {
		t.Error(got)
	}
	if got := AddressOf(&syscall.SockaddrUnix{}); got.IsValid() {
		t.Error(got)
	}
}

// TestOptions: what is accepted has the options of the listening socket, as a net.TCPConn, too.
func TestOptions(t *testing.T) {
	d := open(t, "127.0.0.1:0")
	dial(t, d.Address().String())
	dial(t, d.Address().String())
	for i, a := range arrivals(t, d, 2) {
		check := func(fd uintptr) {
			for name, o := range map[string]struct{ level, option, want int }{
				"TCP_NODELAY":   {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
				"SO_KEEPALIVE":  {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				"TCP_KEEPIDLE":  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
				"TCP_KEEPINTVL": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
				"TCP_KEEPCNT":   {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
			} {
				if got, err := unix.GetsockoptInt(int(fd), o.level, o.option); err != nil || got != o.want {
					t.Errorf("%s is %d (%v), want %d", name, got, err, o.want)
				}
			}
			for name, f := range map[string]struct{ get, want int }{"O_NONBLOCK": {unix.F_GETFL, unix.O_NONBLOCK}, "FD_CLOEXEC": {unix.F_GETFD, unix.FD_CLOEXEC}} {
				if got, err := unix.FcntlInt(fd, f.get, 0); err != nil || got&f.want == 0 {
					t.Errorf("it has no %s: %#x (%v)", name, got, err)
				}
			}
		}
		if i == 0 {
			check(uintptr(a.FD))
			continue
		}
		nc, err := a.Conn()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := nc.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(check); err != nil {
			t.Error(err)
		}
		_ = nc.Close()
	}
}

// TestManyAtOnce: what is queued is given in turns of a bounded length, and all of it.
func TestManyAtOnce(t *testing.T) {
	d := open(t, "127.0.0.1:0")
	for range atOnce + 3 {
		dial(t, d.Address().String())
	}
	var turns []int
	for got := 0; got < atOnce+3; {
		n := len(arrivals(t, d, 1))
		got += n
		turns = append(turns, n)
	}
	if turns[0] != atOnce {
		t.Errorf("turns of %d connections, want the first of %d", turns, atOnce)
	}
}

// TestUntil: a time that has passed ends Await though connections are queued, and Rest has those.
func TestUntil(t *testing.T) {
	d := open(t, "127.0.0.1:0")
	for range 2*atOnce + 1 {
		dial(t, d.Address().String())
	}
	d.Until(time.Unix(1, 0))
	if over, err := d.Await(func(*Arrival) { t.Error("a connection is accepted") }); !over || err != nil {
		t.Errorf("%t, %v", over, err)
	}
	n := 0
	d.Rest(func(a *Arrival) { n++; _ = unix.Close(a.FD) })
	if n != 2*atOnce+1 {
		t.Errorf("%d connections are left, want %d", n, 2*atOnce+1)
	}
	d.Rest(func(*Arrival) { t.Error("there is another one") })
}

// TestReset closes connections, one of which was to be a net.TCPConn.
func TestReset(t *testing.T) {
	d := open(t, "127.0.0.1:0")
	clients := []*net.TCPConn{dial(t, d.Address().String()), dial(t, d.Address().String())}
	all := arrivals(t, d, 2)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := all[1].Conn()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without a descriptor: %v", err)
	}
	for i, a := range all {
		a.Reset()
		a.left = nil
		a.FD = -1
		if _, err := clients[i].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

func TestIgnoreNew(t *testing.T) {
	d := open(t, "127.0.0.1:0")
	early, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	d.IgnoreNew()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.Address().String()); err == nil {
		_ = nc.Close()
		t.Error("a new connection is made")
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection is refused: its client would not ask again: %v", err)
	}
	all := arrivals(t, d, 1)
	if len(all) != 1 {
		t.Fatalf("%d connections are queued, want the early one", len(all))
	}
	nc, err := all[0].Conn()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := early.Write([]byte("hello")); err != nil { // its segments still arrive
		t.Error(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

// TestAwaitEnds tells a Door that was closed, and one whose time has come, from one with trouble.
func TestAwaitEnds(t *testing.T) {
	for name, end := range map[string]func(*Door){"closed": (*Door).Close, "its time": func(d *Door) { d.Until(time.Unix(1, 0)) }} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			d, err := New(ln.(*net.TCPListener), Nobody)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			ended := make(chan bool)
			go func() {
				over, _ := d.Await(func(*Arrival) {})
				ended <- over
			}()
			end(d)
			if !<-ended {
				t.Error("it is to be called again")
			}
			if over, _ := d.Await(func(*Arrival) {}); !over {
				t.Error("it is to be called again, and again")
			}
		})
	}
}

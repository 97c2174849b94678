package handover

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listening returns so many sockets.
func listening(t *testing.T, n int) []listener.Socket {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var out []listener.Socket
	for i := range n {
		fd, err := listener.Duplicate(ln.(*net.TCPListener))
		if err != nil {
			t.Fatal(err)
		}
		s := listener.Socket{Role: listener.Services, Address: "127.0.0.1:" + strings.Repeat("1", 1+i%5), Kept: i%3 == 0, FD: fd}
		t.Cleanup(s.Close)
		out = append(out, s)
	}
	return out
}

// ends are the two ends of a connection: of an old process and of a new one.
func ends(t *testing.T) (old, next *Conn) {
	t.Helper()
	old, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if next, err = Inherited(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(old.Close)
	t.Cleanup(next.Close)
	return old, next
}

func closeSockets(sockets []listener.Socket) {
	for _, s := range sockets {
		s.Close()
	}
}

func TestHandOver(t *testing.T) {
	for _, n := range []int{0, 1, perMessage, perMessage + 1, 5 * perMessage} {
		path := filepath.Join(t.TempDir(), "s")
		sockets := listening(t, n)
		type result struct {
			left []listener.Socket
			err  error
		}
		gave := make(chan result, 1)
		go func() { // comes first, and waits
			c, hello, err := Dial(t.Context(), path)
			if err != nil || hello.Version != "v" || hello.PID != os.Getpid() || hello.PIDFile != "/p" {
				gave <- result{nil, errors.Join(err, errors.New("the hello is not that of the new process"))}
				return
			}
			left, err := c.Give(t.Context(), sockets)
			gave <- result{left, err}
			c.Close()
		}()
		door, err := Listen(path, logr.Discard())
		if err != nil {
			t.Fatal(err)
		}
		c, got, err := door.Await(t.Context(), Hello{Version: "v", PIDFile: "/p"})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != n {
			t.Fatalf("%d sockets of %d", len(got), n)
		}
		for i, s := range got {
			own, s2 := sockets[i], s
			own.FD, s2.FD = 0, 0
			if own != s2 {
				t.Errorf("%+v, want %+v", s2, own)
			}
			if flags, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("a descriptor is handed on to children: %v", err)
			}
		}
		var left []int
		if n > 1 {
			left = []int{1, n - 1}
		}
		if err := c.Take(t.Context(), left); err != nil {
			t.Error(err)
		}
		r := <-gave
		if r.err != nil || len(r.left) != len(left) {
			t.Errorf("%+v", r)
		}
		closeSockets(got)
		door.Close()
		if rest, err := os.ReadDir(filepath.Dir(path)); err != nil || len(rest) > 0 {
			t.Errorf("left behind: %v %v", rest, err)
		}
	}
}

// Until it has heard that the new process serves the old one does.
func TestOldProcessServesOn(t *testing.T) {
	receive := func(t *testing.T, c *Conn) {
		t.Helper()
		got, err := c.Receive(t.Context(), Hello{})
		if err != nil {
			t.Error(err)
		}
		closeSockets(got)
	}
	for name, c := range map[string]struct {
		next func(t *testing.T, c *Conn)
		want string
	}{
		"dies after the sockets": {func(t *testing.T, c *Conn) { receive(t, c); c.Close() }, "has ended before it served"},
		"refuses":                {func(t *testing.T, c *Conn) { receive(t, c); c.Refuse(errors.New("an address is taken")) }, "an address is taken"},
		"dies when it has said that it serves": {func(t *testing.T, c *Conn) {
			receive(t, c)
			_ = c.write(message{Step: stepServing}, nil)
			c.Close()
		}, "has ended before it served"},
		"leaves what it has not got": {func(t *testing.T, c *Conn) {
			receive(t, c)
			_ = c.write(message{Step: stepServing, Left: []int{9}}, nil)
		}, "leaves socket 9"},
		"talks nonsense": {func(t *testing.T, c *Conn) {
			receive(t, c)
			_, _ = c.unix.Write([]byte("{"))
		}, "is not understood"},
		"jumps ahead": {func(t *testing.T, c *Conn) {
			receive(t, c)
			_ = c.write(message{Step: stepMine}, nil)
		}, `"serving" was to come`},
		"says nothing": {func(t *testing.T, c *Conn) { receive(t, c) }, "not in time"},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := ends(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.next(t, next)
			}()
			if _, err := old.Greet(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "says nothing" {
				go func() {
					<-done
					cancel()
				}()
			}
			if _, err := old.Give(ctx, listening(t, 2)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			<-done
		})
	}
}

// A new process that has the sockets goes on without the old one, but not against it.
func TestNewProcess(t *testing.T) {
	give := func(t *testing.T, c *Conn) {
		t.Helper()
		if _, err := c.Greet(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := c.write(message{Step: stepSockets}, nil); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		old  func(t *testing.T, c *Conn)
		want string // empty: the new one serves
	}{
		"the old one dies": {func(t *testing.T, c *Conn) { give(t, c); c.Close() }, ""},
		"the old one dies when it has heard": {func(t *testing.T, c *Conn) {
			give(t, c)
			_, _, _ = c.read(stepServing)
			c.Close()
		}, ""},
		"the old one dies when it has said yours": {func(t *testing.T, c *Conn) {
			give(t, c)
			_, _, _ = c.read(stepServing)
			_ = c.write(message{Step: stepYours}, nil)
			c.Close()
		}, ""},
		"the old one lets go": {func(t *testing.T, c *Conn) {
			give(t, c)
			_, _, _ = c.read(stepServing)
			_ = c.write(message{Step: stepYours}, nil)
			_, _, _ = c.read(stepMine)
			c.Close()
		}, ""},
		"the old one gives up without listening": {func(t *testing.T, c *Conn) { give(t, c); c.Refuse(errors.New("too late")) }, "too late"},
		"the old one gives up": {func(t *testing.T, c *Conn) {
			give(t, c)
			_, _, _ = c.read(stepServing)
			c.Refuse(errors.New("too late"))
		}, "too late"},
		"the old one gives up after yours": {func(t *testing.T, c *Conn) {
			give(t, c)
			_, _, _ = c.read(stepServing)
			_ = c.write(message{Step: stepYours}, nil)
			c.Refuse(errors.New("too late"))
		}, "too late"},
		"the old one talks nonsense": {func(t *testing.T, c *Conn) {
			give(t, c)
			_ = c.write(message{Step: stepSockets}, nil)
		}, `"yours" was to come`},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := ends(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.old(t, old)
			}()
			if _, err := next.Receive(t.Context(), Hello{}); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "without listening") || name == "the old one dies" {
				<-done
			}
			err := next.Take(t.Context(), nil)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			<-done
		})
	}
}

// A connection with more sockets than it says, or fewer, leaves none open.
func TestReadChecksDescriptors(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	sockets := listening(t, 3)
	fds := []int{sockets[0].FD, sockets[1].FD, sockets[2].FD}
	for _, said := range [][]claimed{nil, {{}}, {{}, {}, {}, {}}} {
		old, next := ends(t)
		before := open()
		if err := old.write(message{Step: stepSockets, Sockets: said}, fds); err != nil {
			t.Fatal(err)
		}
		if _, got, err := next.read(stepSockets); err == nil || !strings.Contains(err.Error(), "descriptors") {
			t.Errorf("%v %v", got, err)
		}
		if now := open(); now != before {
			t.Errorf("%d descriptors are open, %d were", now, before)
		}
	}
}

func TestDoor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	door, err := Listen(path, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v %v", info, err)
	}
	if _, err := Listen(path, logr.Discard()); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("two wait: %v", err)
	}
	// It dies: what is left is replaced.
	_ = door.ln.Close()
	_ = door.lock.Close()
	if door, err = Listen(path, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("nobody comes"))
	if _, _, err := door.Await(ctx, Hello{}); err == nil || err.Error() != "nobody comes" {
		t.Error(err)
	}
	door.Close()

	// A link in its place is not followed, nor is one in the place of its lock.
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".lock"} {
		if err := os.Symlink(precious, name); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path, logr.Discard()); err == nil {
			t.Errorf("%s was followed", name)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path + ".lock")
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "x" {
		t.Errorf("%q %v", text, err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 120)), logr.Discard()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
}

func TestTrusted(t *testing.T) {
	own := uint32(os.Geteuid())
	for uid, want := range map[uint32]bool{0: true, own: true, own + 1: false, 65534: own == 65534} {
		if got := trusted(uid) == nil; got != want {
			t.Errorf("user %d: %v", uid, got)
		}
	}
}

// What the other side says may be anything.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"", "{}", `{"step":"sockets","sockets":[{}]}`, `{"step":"refused","reason":"x"}`, "\x00"} {
		f.Add([]byte(text), uint8(1))
	}
	f.Fuzz(func(t *testing.T, said []byte, n uint8) {
		if len(said) == 0 || len(said) > maxMessage {
			return
		}
		old, next := ends(t)
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		fds := slices.Repeat([]int{int(null.Fd())}, int(n%8))
		if _, _, err := old.unix.WriteMsgUnix(said, rights(fds), nil); err != nil {
			t.Skip(err)
		}
		m, got, err := next.read(stepSockets)
		if err == nil && len(got) != len(m.Sockets) {
			t.Errorf("%d descriptors for %d sockets", len(got), len(m.Sockets))
		}
		closeAll(got)
	})
}

func rights(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return unix.UnixRights(fds...)
}

package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPassed(t *testing.T) {
	for _, count := range []string{"", "x", "-1", "100000"} {
		if out, err := passed(firstFD, count, ""); err == nil {
			t.Errorf("%q: %v", count, out)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	const first = 500 // where nothing else is
	for i := range 2 {
		if err := unix.Dup3(int(null.Fd()), first+i, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(first + i)
	}
	out, err := passed(first, "2", "web")
	if err != nil || len(out) != 2 || out[0].Address != "web" || out[1].Address != "unknown" || !out[0].Kept || out[1].FD != first+1 {
		t.Errorf("%+v %v", out, err)
	}
	if flags, err := unix.FcntlInt(first, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("children get it, too")
	}
	if out, err := passed(first, "3", ""); err == nil || len(out) != 2 {
		t.Errorf("%v %v", out, err)
	}
}

// Sockets that are passed to another process are not this one's; nor does a child believe so.
func TestPassedToAnother(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "3")
	if out, err := Passed(); out != nil || err != nil {
		t.Errorf("%v %v", out, err)
	}
	if value, ok := os.LookupEnv("LISTEN_FDS"); ok {
		t.Errorf("LISTEN_FDS=%s", value)
	}
}

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := NewNotifier(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}[name]
	}, logr.Discard())
	if n.watchdog != 0 {
		t.Error("the signs of life of another process are given")
	}
	n.Ready("a\nMAINPID=1\x00b")
	n.MainPID(7)
	n.Stopping() // nobody would believe it
	var b [256]byte
	for _, want := range []string{"READY=1\nSTATUS=a MAINPID=1 b", "MAINPID=7"} {
		size, err := conn.Read(b[:])
		if err != nil || string(b[:size]) != want {
			t.Errorf("%q %v, want %q", b[:size], err, want)
		}
	}
	NewNotifier(func(string) string { return "" }, logr.Discard()).Ready("nobody")
	(*Notifier)(nil).Reloading()
	if strings.Contains(oneLine("a\r\nb"), "\n") {
		t.Error("two lines")
	}
}

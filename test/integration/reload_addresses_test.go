package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// freePort is a port that is free on all addresses, below those that the kernel gives to outgoing connections: one of
// theirs may be in use for a moment at any time.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(12000 + rand.IntN(20000))
		if free("0.0.0.0:" + port) {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

func TestListenersComeGoAndMove(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b")
	port := freePort(t)
	service := func(name, bind, upstream string) string {
		return fmt.Sprintf("  - {name: %s, bind_address: '%s', upstreams: ['%s'], health_check: {type: Disabled}}\n", name, bind, upstream)
	}
	stays := service("stays", "127.0.0.4:0", at[0])
	p := harness.Start(t, "services:\n"+stays+service("moves", "0.0.0.0:"+port, at[1]), harness.Options{})
	load := traffic.Start(t, traffic.Options{Addr: p.Addr(t, "stays"), Workers: 4})

	// Moved from all addresses to one and back, on the same port; a request that runs is finished.
	for _, bind := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, "127.0.0.1:" + port} {
		idle := harness.Dial(t, "127.0.0.1:"+port)
		if got := one(t, idle); got != "b" {
			t.Fatal(got)
		}
		busy := harness.Dial(t, "127.0.0.1:"+port)
		busy.Send(t, "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
		harness.Eventually(t, "the request runs", func() bool { return p.Metric(t, "active_requests") >= 1 })
		p.Reload(t, "services:\n"+stays+service("moves", bind, at[1]))
		if got := p.Addr(t, "moves"); got != bind {
			t.Errorf("moves is bound to %s, want %s", got, bind)
		}
		busy.Send(t, "dy")
		r := busy.Response(t, "POST")
		if r.StatusCode != http.StatusOK || !r.Close {
			t.Errorf("the request that ran over the move: %d, closes %v", r.StatusCode, r.Close)
		}
		busy.Closed(t)
		idle.Closed(t)
		if got := one(t, harness.Dial(t, "127.0.0.1:"+port)); got != "b" {
			t.Error(got)
		}
	}
	if conn, err := net.Dial("tcp", "127.0.0.5:"+port); err == nil { //nolint:noctx // local
		_ = conn.Close()
		t.Error("the old wildcard address still accepts")
	}

	p.Reload(t, "services:\n"+stays)
	harness.Eventually(t, "the removed address refuses", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port) //nolint:noctx // local
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	p.Reload(t, "services:\n"+stays+service("new", "127.0.0.1:"+port, at[1]))
	if got := one(t, harness.Dial(t, "127.0.0.1:"+port)); got != "b" {
		t.Error(got)
	}
	if tally := load.Stop(); tally.Lost != 0 || tally.Reopened+tally.Closed != 0 {
		t.Errorf("the listener that stays: %v %q", tally, tally.Losses)
	}
}

// An address that somebody else has refuses the whole configuration: the old one serves, on the old addresses.
func TestAddressTakenOnReload(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b")
	port := freePort(t)
	holder, err := net.Listen("tcp", fmt.Sprint(ownLoopback(), ":", port)) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	configure := func(bind, upstream string) string {
		return strings.Replace(webService([]string{upstream}, unchecked), "127.0.0.1:0", bind, 1)
	}
	p := harness.Start(t, configure("127.0.0.1:"+port, at[0]), harness.Options{})
	load := traffic.Start(t, traffic.Options{Addr: "127.0.0.1:" + port, Workers: 4})
	for i := range 3 {
		// The wildcard overlaps our own address, which must be given up and taken again, and the holder's.
		p.ReloadRefused(t, configure("0.0.0.0:"+port, at[1])+strings.Repeat("\n", i))
		load.Await(t, 20)
	}
	line := p.AwaitLog(t, "the reason", func(l harness.Line) bool { return strings.Contains(l.Text("error"), "address already in use") })
	if !strings.Contains(line.Text("error"), "0.0.0.0:"+port) {
		t.Error(line)
	}
	tally := load.Stop()
	// A connection may be refused in the moment between the two sockets; those that are open lose nothing.
	for _, loss := range tally.Losses {
		if !strings.Contains(loss, "refused") {
			t.Error(loss)
		}
	}
	t.Logf("%v %q", tally, tally.Losses)
	if tally.ByOrigin["b"] != 0 || tally.Reopened != 0 || tally.Closed != 0 {
		t.Errorf("%v", tally)
	}
	if got := one(t, harness.Dial(t, "127.0.0.1:"+port)); got != "a" {
		t.Error(got)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	p.Reload(t, configure("0.0.0.0:"+port, at[1]))
	if got := one(t, harness.Dial(t, "127.0.0.1:"+port)); got != "b" {
		t.Error(got)
	}
}

func TestAdminAndMetricsMoveOnReload(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	configure := func(admin, metrics string) string {
		return fmt.Sprintf("admin: {bind_address: '%s'}\nmetrics: {bind_address: '%s'}\n%s", admin, metrics, webService([]string{origin.Addr}, unchecked))
	}
	p := harness.Start(t, configure("127.0.0.1:0", "127.0.0.1:0"), harness.Options{})
	oldAdmin, oldMetrics := p.AdminAddr(t), p.MetricsAddr(t)
	refuses := func(address string) bool {
		conn, err := net.Dial("tcp", address) //nolint:noctx // local
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}
	next := fmt.Sprint(ownLoopback(), ":0")
	p.WriteConfig(t, configure(next, next))
	harness.Eventually(t, "both have moved", func() bool { return p.AdminAddr(t) != oldAdmin && p.MetricsAddr(t) != oldMetrics })
	harness.Eventually(t, "the old addresses are closed", func() bool { return refuses(oldAdmin) && refuses(oldMetrics) })
	host, _, _ := net.SplitHostPort(next)
	if !strings.HasPrefix(p.AdminAddr(t), host) || !strings.HasPrefix(p.MetricsAddr(t), host) {
		t.Errorf("%s %s", p.AdminAddr(t), p.MetricsAddr(t))
	}
	p.Admin(t, "/readyz")
	p.AwaitMetric(t, 2, "config_reloads_total", "result", "success")

	// One that is taken refuses everything; the other one does not move either.
	movedAdmin, movedMetrics := p.AdminAddr(t), p.MetricsAddr(t)
	p.ReloadRefused(t, configure("127.0.0.1:0", origin.Addr))
	if p.Admin(t, "/livez") == "" || p.Metric(t, "config_reloads_total", "result", "error") != 1 {
		t.Error("the old addresses do not answer any more")
	}
	p.AwaitLog(t, "the reason", func(l harness.Line) bool { return strings.Contains(l.Text("error"), "metrics.bind_address: ") })
	if p.AdminAddr(t) != movedAdmin {
		t.Error("the admin API moved with a configuration that was refused")
	}

	p.WriteConfig(t, configure("off", "off"))
	harness.Eventually(t, "both are off", func() bool { return refuses(movedAdmin) && refuses(movedMetrics) })
	p.WriteConfig(t, configure("127.0.0.1:0", "127.0.0.1:0"))
	harness.Eventually(t, "both are on again", func() bool { return p.AdminAddr(t) != movedAdmin && p.MetricsAddr(t) != movedMetrics })
	one(t, harness.Dial(t, p.Addr(t, "web")))
}

func TestAccessLogMovesAndIsReopened(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	configure := func(path string) string {
		return "access_log: {path: '" + path + "'}\n" + webService([]string{origin.Addr}, unchecked)
	}
	p := harness.Start(t, configure(file("one.log")), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	logs := func(name, path string) bool {
		text, err := os.ReadFile(file(name))
		return err == nil && strings.Contains(string(text), `"path":"`+path+`"`)
	}
	ask := func(path string) {
		t.Helper()
		if r := c.Do(t, requestOf("GET", path)); r.StatusCode != http.StatusOK {
			t.Fatal(r.StatusCode)
		}
	}
	ask("/1")
	harness.Eventually(t, "/1 is logged", func() bool { return logs("one.log", "/1") })

	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
		old, path := fmt.Sprint("one.log.", s), fmt.Sprint("/after-", int(s))
		if err := os.Rename(file("one.log"), file(old)); err != nil {
			t.Fatal(err)
		}
		p.Signal(t, s)
		harness.Eventually(t, "the file is opened anew", func() bool {
			_, err := os.Stat(file("one.log"))
			return err == nil
		})
		ask(path)
		harness.Eventually(t, path+" is logged", func() bool { return logs("one.log", path) })
		if logs(old, path) {
			t.Error("the renamed file is still written to")
		}
	}

	p.Reload(t, configure(file("two.log")))
	ask("/2")
	harness.Eventually(t, "/2 is logged", func() bool { return logs("two.log", "/2") })
	if logs("one.log", "/2") {
		t.Error("the old file is still written to")
	}
	p.ReloadRefused(t, configure(file("missing/three.log")))
	ask("/3")
	harness.Eventually(t, "/3 is logged where it was", func() bool { return logs("two.log", "/3") })
	p.Reload(t, configure("stdout"))
	ask("/4")
	p.AccessOf(t, "/4")
	p.Reload(t, configure("off"))
	ask("/5")
	p.Reload(t, configure("stdout"))
	ask("/6")
	p.AccessOf(t, "/6")
	if strings.Contains(p.AccessLogText(), `"/5"`) || logs("two.log", "/5") {
		t.Error("a request was logged while the log was off")
	}
}

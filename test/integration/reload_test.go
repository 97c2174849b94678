package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// talker is an origin that takes every upgrade and then sends back what it gets; other requests are echoed.
func talker(t *testing.T) *harness.RawOrigin {
	t.Helper()
	return harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			r := c.Request()
			if r == nil {
				return
			}
			if r.Header.Get("Upgrade") == "" {
				c.Send("HTTP/1.1 200 OK\r\nX-Origin: talker\r\nContent-Length: 2\r\n\r\nhi")
				continue
			}
			c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			for {
				line, err := c.Reader.ReadString('\n')
				if err != nil || c.TrySend(line) != nil {
					return
				}
			}
		}
	})
}

// A tunnel is an open WebSocket, as far as a proxy can tell.
type tunnel struct{ *harness.Client }

func openTunnel(t *testing.T, address string) tunnel {
	t.Helper()
	c := harness.Dial(t, address)
	r := c.Do(t, "GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%d %s", r.StatusCode, r.Text)
	}
	return tunnel{c}
}

func (c tunnel) speak(t *testing.T, words string) {
	t.Helper()
	c.Send(t, words+"\n")
	if got := c.Read(t, len(words)+1); got != words+"\n" {
		t.Fatalf("the tunnel said %q to %q", got, words)
	}
}

// Every kind of change, again and again, while requests run and WebSockets are open.
func TestReloadUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	ledger := harness.NewLedger(t)
	var at []string
	for i := range 3 {
		at = append(at, harness.StartOrigin(t, ledger.Echo(fmt.Sprint("o", i))).Addr)
	}
	sockets := talker(t)
	configure := func(n int) string {
		upstreams := slices.Clone(at)
		if n%3 == 1 {
			upstreams = slices.Delete(upstreams, n%2, n%2+1) // an endpoint goes, and comes back
		}
		yaml := webService(upstreams, fmt.Sprintf("timeouts: {idle_secs: %d}", 60+n),
			fmt.Sprintf("load_balancing: {algorithm: %s}", []string{"RoundRobin", "LeastRequest", "Random"}[n/4%3]),
			fmt.Sprintf("routes: [{name: 'r%d', matches: [{path: {value: /load}}], filters: [{response_headers: {set: {X-N: '%d'}}}], backends: [%s]}]",
				n%2, n, "{address: '"+strings.Join(upstreams, "'}, {address: '")+"'}"))
		yaml += fmt.Sprintf("  - {name: sockets, bind_address: '127.0.0.2:0', upstreams: ['%s'], timeouts: {idle_secs: %d}}\n", sockets.Addr, 100+n)
		if n%4 == 2 {
			yaml += fmt.Sprintf("  - {name: extra, bind_address: '127.0.0.3:0', upstreams: ['%s']}\n", at[0]) // comes and goes
		}
		return yaml
	}
	p := harness.Start(t, configure(0), harness.Options{})
	address := p.Addr(t, "web")
	var tunnels []tunnel
	for range 3 {
		tunnels = append(tunnels, openTunnel(t, p.Addr(t, "sockets")))
	}
	load := harness.StartLoad(t, harness.LoadOptions{Addr: address, Workers: 8})
	const reloads = 24
	for n := 1; n <= reloads; n++ {
		if n%6 == 0 {
			p.ReloadRefused(t, "services: [{name: broken}]\n")
		}
		p.Reload(t, configure(n))
		load.Await(t, 20)
		tunnels[n%len(tunnels)].speak(t, fmt.Sprint("reload ", n))
	}
	tally := load.Stop()
	t.Logf("%d reloads: %v", reloads, tally)
	if tally.Lost != 0 || tally.Answered != tally.Sent || tally.Sent < 20*reloads {
		t.Errorf("%v\n%s", tally, strings.Join(tally.Losses, "\n"))
	}
	if tally.Fresh == 0 || tally.ByMethod["GET"] == 0 || tally.ByMethod["POST"] == 0 {
		t.Errorf("the load is not what it shall be: %v", tally)
	}
	// The listener has never changed: no connection was to be closed.
	if tally.Reopened != 0 || tally.Closed != 0 {
		t.Errorf("kept-alive connections were closed: %v", tally)
	}
	for _, method := range []string{"GET", "POST"} {
		if replayed, received := ledger.Replayed(t, method); len(replayed) > 0 || received != tally.ByMethod[method] {
			t.Errorf("%s: %d answered, %d received, twice %q", method, tally.ByMethod[method], received, replayed)
		}
	}
	for i, c := range tunnels {
		c.speak(t, fmt.Sprint("still open ", i))
	}
	p.AwaitMetric(t, float64(len(tunnels)), "open_tunnels")
	if p.Addr(t, "web") != address {
		t.Error("port 0 became another port")
	}
}

func TestReloadKeepsState(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	down := refusing(t)
	sockets := talker(t)
	configure := func(n int) string {
		// The next check would come after a day: what is known after a reload was kept.
		return webService([]string{origin.Addr, down}, "health_check: {frequency_secs: 86400}", fmt.Sprintf("timeouts: {idle_secs: %d}", 60+n)) +
			fmt.Sprintf("  - {name: sockets, bind_address: '127.0.0.2:0', upstreams: ['%s'], timeouts: {idle_secs: %d}}\n", sockets.Addr, 60+n)
	}
	p := harness.Start(t, configure(0), harness.Options{})
	bound := map[string]string{"web": p.Addr(t, "web"), "sockets": p.Addr(t, "sockets")}
	adminAddr, metricsAddr := p.AdminAddr(t), p.MetricsAddr(t)
	state := func(address string) harness.Endpoint {
		for _, service := range []string{"web", "sockets"} {
			for _, e := range p.Endpoints(t, service) {
				if e.Address == address {
					return e
				}
			}
		}
		t.Fatalf("no endpoint %s", address)
		return harness.Endpoint{}
	}
	harness.Eventually(t, "checks have told", func() bool {
		return state(origin.Addr).LastCheck != nil && !state(down).Healthy && state(sockets.Addr).LastCheck != nil
	})
	c := harness.Dial(t, bound["web"])
	const n = 7
	for range n {
		one(t, c)
	}
	tunnel := openTunnel(t, bound["sockets"])
	tunnel.speak(t, "before")
	p.AwaitMetric(t, n, "requests_total", "service", "web", "code", "200")
	harness.Eventually(t, "the origin's connection is idle", func() bool { return state(origin.Addr).IdleConnections == 1 })
	before := map[string]harness.Endpoint{}
	for _, a := range []string{origin.Addr, down, sockets.Addr} {
		before[a] = state(a)
	}
	if before[sockets.Addr].InFlight != 1 {
		t.Errorf("the tunnel is not in flight: %+v", before[sockets.Addr])
	}
	for i := range 3 {
		p.Reload(t, configure(i+1))
	}
	for a, was := range before {
		is := state(a)
		if !is.LastCheck.Equal(*was.LastCheck) || is.Healthy != was.Healthy || is.LastError != was.LastError || is.FailedChecks != was.FailedChecks ||
			is.Requests != was.Requests || is.InFlight != was.InFlight || is.IdleConnections != was.IdleConnections {
			t.Errorf("%s:\nbefore %+v\nafter  %+v", a, was, is)
		}
	}
	for service, address := range bound {
		if got := p.Addr(t, service); got != address {
			t.Errorf("%s is bound to %s, before %s", service, got, address)
		}
	}
	if p.AdminAddr(t) != adminAddr || p.MetricsAddr(t) != metricsAddr {
		t.Error("the admin API or the metrics moved")
	}
	one(t, c) // the client's connection is still the same
	tunnel.speak(t, "after")
	p.AwaitMetric(t, n+1, "requests_total", "service", "web", "code", "200")
	p.AwaitMetric(t, 4, "config_reloads_total", "result", "success")
	if e := state(origin.Addr); e.IdleConnections != 1 || e.Requests != n+1 {
		t.Errorf("the idle connection was not used: %+v", e)
	}
	if n := p.Metric(t, "connections_total"); n != 2 {
		t.Errorf("%v connections of clients, want the 2", n)
	}
}

func TestBadFileChangesNothing(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	good := webService([]string{origin.Addr}, unchecked)
	p := harness.Start(t, good, harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	one(t, c)
	var config struct {
		Hash        string
		LastError   string `json:"last_error"`
		LastErrorAt string `json:"last_error_at"`
	}
	for name, bad := range map[string]struct{ yaml, place, message string }{
		"unknown field": {strings.Replace(good, "bind_address", "bind_adress", 1), ":3:5", "did you mean `bind_address`?"},
		"not YAML":      {"services: [\n", ":", ""},
		"nothing":       {"\n", "", ""},
		"port taken": {good + fmt.Sprintf("  - {name: other, bind_address: '%s', upstreams: ['%s']}\n", origin.Addr, origin.Addr),
			"", "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			logged := len(p.Log())
			p.ReloadRefused(t, bad.yaml)
			if p.Metric(t, "config_last_reload_successful") != 0 {
				t.Error("config_last_reload_successful is 1")
			}
			p.AdminJSON(t, "/api/v1/config", &config)
			if config.LastError == "" || config.LastErrorAt == "" || !strings.Contains(config.LastError, bad.message) ||
				bad.place != "" && !strings.Contains(config.LastError, p.Path+bad.place) {
				t.Errorf("the admin API does not show the error: %+v", config)
			}
			said := ""
			for _, line := range p.Log()[logged:] {
				if line.Text("level") == "error" {
					said += line.Text("msg") + " " + line.Text("error") + "\n"
				}
			}
			if !strings.Contains(said, bad.message) || bad.place != "" && !strings.Contains(said, p.Path+bad.place) {
				t.Errorf("the log says %q, want %q and the place %q", said, bad.message, bad.place)
			}
			one(t, c)
		})
	}
	p.Reload(t, webService([]string{origin.Addr}))
	config.LastError = ""
	p.AdminJSON(t, "/api/v1/config", &config)
	if config.LastError != "" || p.Metric(t, "config_last_reload_successful") != 1 {
		t.Errorf("after a good file: %+v", config)
	}
	one(t, c)
}

// The ways in which files change, and the signal.
func TestWaysToReload(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b")
	configure := func(i int) string { return webService(at[i:i+1], unchecked) }
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	do := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	serves := func(t *testing.T, p *harness.Proxy, name string) {
		t.Helper()
		address := p.Addr(t, "web")
		harness.Eventually(t, name+" serves", func() bool { return one(t, harness.Dial(t, address)) == name })
	}
	t.Run("written in place", func(t *testing.T) {
		t.Parallel()
		p := harness.Start(t, configure(0), harness.Options{})
		write(t, p.Path, configure(1))
		serves(t, p, "b")
	})
	t.Run("written in steps", func(t *testing.T) {
		t.Parallel()
		p := harness.Start(t, configure(0), harness.Options{})
		f, err := os.OpenFile(p.Path, os.O_WRONLY|os.O_TRUNC, 0)
		do(t, err)
		for line := range strings.Lines(configure(1)) {
			_, err := f.WriteString(line)
			do(t, err)
		}
		do(t, f.Close())
		serves(t, p, "b")
	})
	t.Run("renamed over by an editor", func(t *testing.T) {
		t.Parallel()
		p := harness.Start(t, configure(0), harness.Options{})
		for i := range 4 {
			// As vim does: the old file becomes the backup, the new one is written under the old name, the backup goes.
			do(t, os.Rename(p.Path, p.Path+"~"))
			write(t, p.Path, configure((i+1)%2))
			do(t, os.Remove(p.Path+"~"))
			serves(t, p, string("ba"[i%2]))
		}
	})
	t.Run("swapped by Kubernetes", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "config.yaml")
		project := func(name string, i int) {
			do(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			write(t, filepath.Join(dir, name, "config.yaml"), configure(i))
			do(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
			do(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}
		project("..v0", 0)
		do(t, os.Symlink(filepath.Join("..data", "config.yaml"), path))
		p := harness.Start(t, "", harness.Options{Path: path})
		serves(t, p, "a")
		for i := range 3 {
			project(fmt.Sprintf("..v%d", i+1), (i+1)%2)
			do(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", i))))
			serves(t, p, string("ba"[i%2]))
		}
	})
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "10-web.yaml"), configure(0))
		write(t, filepath.Join(dir, "00-globals.yaml"), "limits: {via: true}\n")
		write(t, filepath.Join(dir, "notes.txt"), "no configuration")
		p := harness.Start(t, "", harness.Options{Path: dir})
		serves(t, p, "a")
		if r := harness.Dial(t, p.Addr(t, "web")).Do(t, requestOf("GET", "/")); r.Header.Get("Via") == "" {
			t.Error("the file with the globals was not read")
		}
		write(t, filepath.Join(dir, "20-more.yaml"), fmt.Sprintf("services: [{name: more, bind_address: '127.0.0.1:0', hosts: [more.test], upstreams: ['%s']}]\n", at[1]))
		address := p.Addr(t, "web")
		ask := func(host string) string {
			return harness.Dial(t, address).Do(t, strings.Replace(requestOf("GET", "/"), "Host: h", "Host: "+host, 1)).Header.Get("X-Origin")
		}
		harness.Eventually(t, "the new file's service serves", func() bool { return ask("more.test") == "b" })
		if got := ask("other.test"); got != "a" {
			t.Errorf("the old file's service is served by %q", got)
		}
		do(t, os.Remove(filepath.Join(dir, "20-more.yaml")))
		harness.Eventually(t, "the removed file's service is gone", func() bool { return ask("more.test") == "a" })
	})
	t.Run("SIGHUP", func(t *testing.T) {
		t.Parallel()
		p := harness.Start(t, configure(0), harness.Options{})
		for i := range 3 {
			p.Signal(t, syscall.SIGHUP) // reloads also what has not changed
			p.AwaitMetric(t, float64(2+i), "config_reloads_total", "result", "success")
		}
		serves(t, p, "a")
	})
}

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
	load := harness.StartLoad(t, harness.LoadOptions{Addr: p.Addr(t, "stays"), Workers: 4})

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
	defer holder.Close() //nolint:errcheck // nobody was there
	configure := func(bind, upstream string) string {
		return strings.Replace(webService([]string{upstream}, unchecked), "127.0.0.1:0", bind, 1)
	}
	p := harness.Start(t, configure("127.0.0.1:"+port, at[0]), harness.Options{})
	load := harness.StartLoad(t, harness.LoadOptions{Addr: "127.0.0.1:" + port, Workers: 4})
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

// Several clients hold requests open over a reload that removes their route and their endpoints.
func TestRequestsThatRunOverAReloadAreFinished(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var once sync.Once
	slow := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		harness.Echo("slow").ServeHTTP(w, r)
	}))
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	quick, _ := echoes(t, "quick")
	p := harness.Start(t, webService([]string{slow.Addr}, unchecked), harness.Options{})
	address := p.Addr(t, "web")
	var clients []*harness.Client
	for range 5 {
		c := harness.Dial(t, address)
		c.Send(t, requestOf("POST", "/"))
		clients = append(clients, c)
	}
	harness.Eventually(t, "all requests have reached the origin", func() bool { return slow.Requests.Load() == 5 })
	p.Reload(t, webService(quick, unchecked))
	if got := one(t, harness.Dial(t, address)); got != "quick" {
		t.Error(got)
	}
	once.Do(func() { close(release) })
	for _, c := range clients {
		if r := c.Response(t, "POST"); r.StatusCode != http.StatusOK || r.Header.Get("X-Origin") != "slow" {
			t.Errorf("%d %s", r.StatusCode, r.Text)
		}
		if got := one(t, c); got != "quick" { // the connection goes on, with the new configuration
			t.Error(got)
		}
	}
}

package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
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
	load := traffic.Start(t, traffic.Options{Addr: address, Workers: 8})
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
		"port taken": {
			good + fmt.Sprintf("  - {name: other, bind_address: '%s', upstreams: ['%s']}\n", origin.Addr, origin.Addr),
			"", "address already in use",
		},
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

package reliability

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Each process takes the sockets of the one before. Before each upgrade WebSockets are opened, which stay with the process that
// has accepted them until they are closed; then it must end in good order.
var upgrade = scenario{
	name:  "upgrade",
	title: "another process of the program takes the place of the one that serves (`--upgrade`, SIGQUIT), again and again",
	// Whoever hears nothing of a client for a second may close an idle connection: a stall beside other cases is not judged here.
	alone: true,
	run: func(t *testing.T, r *run) {
		var (
			times   = r.of(3, 20)
			rate    = r.of(300, 2000) // of all loads together
			open    = r.of(10, 100)
			between = r.of(30, 700) // requests of each load before and after each upgrade
		)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 3)
		_, log := logged(t)
		certificate, trust := secured(t, "load")
		yaml := log + "limits: {drain_timeout_secs: 120}\nservices:\n"
		for _, service := range []string{"name: plain\n    bind_address: '127.0.0.1:0'", "name: secure\n    bind_address: '127.0.0.2:0'\n    tls: true\n    tls_config: " + certificate} {
			yaml += fmt.Sprintf("  - %s\n    upstreams: ['%s', '%s', '%s']\n", service, addrs[0], addrs[1], addrs[2])
		}
		meeting, err := os.MkdirTemp("", "upgrade") //nolint:usetesting // a socket's path is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(meeting); err != nil {
				t.Error(err)
			}
		})
		env := []string{"PINGORA_UPGRADE_SOCKET=" + filepath.Join(meeting, "s")}
		p := harness.Start(t, yaml, harness.Options{Env: env})
		plain, secure := p.Addr(t, "plain"), p.Addr(t, "secure")
		loads := []*traffic.Load{
			traffic.Start(t, traffic.Options{Addr: plain, Workers: 32, Rate: rate / 2}),
			traffic.Start(t, traffic.Options{Addr: secure, TLS: trust, Workers: 8, Rate: rate / 4}),
			traffic.Start(t, traffic.Options{Addr: secure, TLS: trust, HTTP2: true, Workers: 8, Rate: rate / 4}),
		}
		messages, lost := int64(0), []string(nil)
		took := time.Duration(0)
		for n := range times {
			awaitAll(t, between, loads)
			sockets := traffic.OpenSockets(t, plain, open, 100*time.Millisecond)
			began := time.Now()
			next := succeed(t, p, env, n%2 == 0)
			took = max(took, time.Since(began))
			awaitAll(t, between, loads)
			lost = append(lost, sockets.Stop()...)
			messages += int64(sockets.Messages())
			sockets.Close()
			if code := p.Wait(t); code != 0 {
				t.Errorf("the process before ended with code %d", code)
			}
			p = next
		}
		var tallies []traffic.Tally
		fresh := 0
		for _, load := range loads {
			tally := load.Stop()
			fresh += tally.Fresh
			tallies = append(tallies, tally)
		}
		row := counted(t, ledger, tallies...)
		row.seen = fmt.Sprintf("%d upgrades, the longest %d ms from the start of the process; over HTTP/1.1, TLS and HTTP/2; %d requests on fresh connections; "+
			"%d WebSockets before each, %d messages, %d of them lost", times, took.Milliseconds(), fresh, open, messages, len(lost))
		r.report(t, row)
		for _, text := range lost {
			t.Error(text)
		}
		if messages == 0 {
			t.Error("the WebSockets were silent")
		}
	},
}

// succeed has a process take the place of p, and returns it when it serves and p has let go. The signal may come before.
func succeed(t *testing.T, p *harness.Proxy, env []string, signalFirst bool) *harness.Proxy {
	t.Helper()
	message := func(text string) func(harness.Line) bool {
		return func(l harness.Line) bool { return l.Text("msg") == text }
	}
	if signalFirst {
		p.Signal(t, syscall.SIGQUIT)
	}
	next := harness.Start(t, "", harness.Options{Path: p.Path, Env: env, Args: []string{"--upgrade"}, NoWait: true})
	if !signalFirst {
		next.AwaitLog(t, "it waits", message("waiting for the sockets: send SIGQUIT to the process that serves"))
		p.Signal(t, syscall.SIGQUIT)
	}
	next.AwaitLog(t, "it serves", message("serving"))
	p.AwaitLog(t, "it has let go", message("another process serves now; what runs here is finished"))
	harness.Eventually(t, "it is ready", func() bool {
		response, err := http.Get("http://" + next.AdminAddr(t) + "/readyz") //nolint:noctx // local
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return next
}

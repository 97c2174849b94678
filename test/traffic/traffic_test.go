package traffic_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func TestLoadCountsWhatIsAnswered(t *testing.T) {
	t.Parallel()
	ledger := harness.NewLedger(t)
	origin := harness.StartOrigin(t, ledger.Echo("o"))
	tally := traffic.Start(t, traffic.Options{Addr: origin.Addr, Requests: 200, Pause: -1}).Wait()
	if tally.Sent != 200 || tally.Answered != 200 || tally.Lost != 0 || tally.ByOrigin["o"] != 200 || tally.ByStatus[200] != 200 {
		t.Error(tally)
	}
	if tally.Fresh < 10 || tally.Fresh > 30 || tally.Reopened+tally.Closed != 0 {
		t.Errorf("%v, want about 20 fresh", tally)
	}
	for _, method := range []string{"GET", "POST"} {
		if replayed, received := ledger.Replayed(t, method); received != tally.ByMethod[method] || len(replayed) > 0 {
			t.Errorf("%s: %d received, twice %q", method, received, replayed)
		}
	}
}

// Every way in which a request can be lost is seen.
func TestLoadCountsWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		serve func(*harness.OriginConn)
		loss  string
	}{
		"closed": {func(c *harness.OriginConn) { c.Request() }, "no response"},
		"reset":  {func(c *harness.OriginConn) { c.Request(); c.Reset() }, "no response"},
		"cut short": {func(c *harness.OriginConn) {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi")
		}, "cut short"},
		"another status":  {harness.Answer("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), "502"},
		"another request": {harness.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "another request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := harness.StartRawOrigin(t, c.serve)
			tally := traffic.Start(t, traffic.Options{Addr: origin.Addr, Workers: 2, Requests: 6, Methods: []string{"GET"}, FreshPercent: -1}).Wait()
			if tally.Sent != 6 || tally.Lost != 6 || tally.Answered != 0 {
				t.Fatal(tally)
			}
			if cut := name == "cut short"; (tally.Cut == 6) != cut || (tally.Cut == 0) == cut {
				t.Errorf("%d are cut short", tally.Cut)
			}
			for _, loss := range tally.Losses {
				if !strings.Contains(loss, c.loss) {
					t.Errorf("%s, want %q", loss, c.loss)
				}
			}
		})
	}
}

// The ledger outlives its origin, and sees what comes twice.
func TestLedger(t *testing.T) {
	t.Parallel()
	ledger := harness.NewLedger(t)
	process := ledger.StartOriginProcess(t, "p")
	load := traffic.Start(t, traffic.Options{Addr: process.Addr, Workers: 1, Methods: []string{"POST"}, FreshPercent: -1})
	load.Await(t, 5)
	tally := load.Stop()
	process.Kill(t)
	if tally.Lost != 0 || tally.Answered < 5 {
		t.Error(tally, tally.Losses)
	}
	if replayed, received := ledger.Replayed(t, "POST"); received != tally.Answered || len(replayed) > 0 {
		t.Errorf("%d received, twice %q", received, replayed)
	}
	origin := harness.StartOrigin(t, ledger.Echo("o"))
	c := harness.Dial(t, origin.Addr)
	for range 3 {
		c.Do(t, "POST / HTTP/1.1\r\nHost: h\r\n"+harness.LoadID+": again\r\nContent-Length: 0\r\n\r\n")
	}
	if replayed, _ := ledger.Replayed(t, "POST"); len(replayed) != 1 || replayed[0] != "again" {
		t.Errorf("%q", replayed)
	}
}

func TestLoadLeaves(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		r := c.Request()
		if r == nil {
			return
		}
		body := `{"id":"` + r.Header.Get(harness.LoadID) + `","bytes":0,}`
		c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	})
	tally := traffic.Start(t, traffic.Options{Addr: origin.Addr, Workers: 3, Methods: []string{"GET"}, FreshPercent: -1, Leave: true}).Wait()
	if tally.Sent != 3 || tally.Answered != 3 || tally.Closed != 3 {
		t.Error(tally, tally.Losses)
	}
}

// Over HTTP/2 and TLS the same is counted.
func TestLoadOverHTTP2(t *testing.T) {
	t.Parallel()
	authority := harness.NewAuthority(t, "traffic")
	ledger := harness.NewLedger(t)
	server := httptest.NewUnstartedServer(ledger.Echo("o"))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair(t, "127.0.0.1")}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	tally := traffic.Start(t, traffic.Options{
		Addr: server.Listener.Addr().String(), TLS: &tls.Config{RootCAs: authority.Pool()}, HTTP2: true, Requests: 100, Pause: -1,
		Each: func(a traffic.Answer) {
			if a.Proto != "HTTP/2.0" {
				t.Errorf("%s %s: %s", a.Method, a.ID, a.Proto)
			}
		},
	}).Wait()
	if tally.Sent != 100 || tally.Answered != 100 || tally.ByOrigin["o"] != 100 || tally.Fresh < 5 {
		t.Error(tally, tally.Losses)
	}
	if _, received := ledger.Replayed(t, "POST"); received != tally.ByMethod["POST"] {
		t.Errorf("%d received, %v", received, tally)
	}
}

// A load with a rate sends its requests at their times, and not before.
func TestLoadWithRate(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	began := time.Now()
	tally := traffic.Start(t, traffic.Options{Addr: origin.Addr, Rate: 200, Requests: 41}).Wait()
	if took := time.Since(began); tally.Answered != 41 || took < 200*time.Millisecond {
		t.Errorf("%v in %v", tally, took)
	}
}

func TestReasonsAreCounted(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 27\r\n\r\n{\"reason\":\"connect_failed\"}"))
	tally := traffic.Start(t, traffic.Options{Addr: origin.Addr, Requests: 4, Pause: -1}).Wait()
	if tally.ByReason["502 connect_failed"] != 4 || tally.ByStatus[502] != 4 || tally.Lost != 4 {
		t.Error(tally, tally.ByReason)
	}
}

// Messages come back, and a WebSocket that is cut, or that says something else, shows.
func TestSockets(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	good := traffic.OpenSockets(t, origin.Addr, 3, time.Millisecond)
	harness.Eventually(t, "messages", func() bool { return good.Messages() > 10 })
	if lost := good.Stop(); len(lost) > 0 {
		t.Error(lost)
	}
	for name, serve := range map[string]func(*harness.OriginConn){
		"cut":   func(c *harness.OriginConn) { _, _ = c.Reader.ReadString('\n') },
		"other": func(c *harness.OriginConn) { c.Send("other\n"); _, _ = c.Rest() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
				c.Request()
				c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				serve(c)
			})
			sockets := traffic.OpenSockets(t, bad.Addr, 2, time.Millisecond)
			if lost := sockets.Wait(); len(lost) != 2 {
				t.Errorf("%q", lost)
			}
		})
	}
}

// What is offered is sent whatever becomes of it, and each outcome is counted.
func TestOffer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	origin := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) % 4 {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	o := traffic.MakeOffer(client, "http://"+origin.Addr+"/", 400, 100*time.Millisecond)
	all := int(asked.Load())
	if all < 4 || o.Served+len(o.Away)+o.Other != all || o.Other != (all+2)/4 || len(o.Away) != (all+3)/4 || o.AwayWithin(1) < o.AwayWithin(0.5) {
		t.Errorf("%d asked: %v", all, o)
	}
}

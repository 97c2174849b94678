package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// asRelay makes the test's own binary the relay.
const asRelay = "RUN_AS_RELAY"

func TestMain(m *testing.M) {
	if os.Getenv(asRelay) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// start starts a relay to an origin and returns where it listens.
func start(t *testing.T, origin string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := peers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := peers.Start(t.Context(), peers.Spec{
		Program: peers.Program{Name: "relay", Path: self}, Args: []string{addr, origin}, Env: []string{asRelay + "=1"}, CPU: peers.AnyCPU, Ready: peers.Dials(addr),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return addr
}

// TestRequestsAndAnswersPass sends bodies of all sizes both ways, on kept and on fresh connections.
func TestRequestsAndAnswersPass(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}))
	t.Cleanup(origin.Close)
	url := "http://" + start(t, origin.Listener.Addr().String())
	for name, fresh := range map[string]bool{"kept": false, "fresh": true} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: fresh}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			var wg sync.WaitGroup
			for _, size := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 1 << 20, 5<<20 + 3} {
				wg.Go(func() {
					for range 3 {
						want := bytes.Repeat([]byte{byte(size)}, size)
						res, err := client.Post(url, "text/plain", bytes.NewReader(want))
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(res.Body)
						if _ = res.Body.Close(); err != nil || !bytes.Equal(got, want) {
							t.Errorf("of %d bytes came %d: %v", len(want), len(got), err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestEndsPassOn closes one direction, while the other one still has more to say than anybody reads.
func TestEndsPassOn(t *testing.T) {
	const size = 16 << 20
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			asked, _ := io.ReadAll(conn) // up to the client's end
			if string(asked) == "say" {
				_, _ = conn.Write(make([]byte, size))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-served
	})
	conn, err := net.Dial("tcp", start(t, ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(conn, strings.NewReader("say")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n != size {
		t.Errorf("%d bytes came, then %v", n, err)
	}
}

func TestClientsOfADeadOriginAreTurnedAway(t *testing.T) {
	dead, err := peers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, dead)
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAddresses(t *testing.T) {
	if a, err := address("127.0.0.1:80"); err != nil || a.Port != 80 || a.Addr != [4]byte{127, 0, 0, 1} {
		t.Errorf("%v %v", a, err)
	}
	for _, text := range []string{"", "127.0.0.1", "[::1]:80", "localhost:80"} {
		if _, err := address(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// reachable reports whether something accepts on an address.
func reachable(address string) bool {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func TestAddressChanges(t *testing.T) {
	r := newRig(t)
	s := NewAdmin(r.options)
	defer s.Shutdown(t.Context())
	if s.Addr() != "" {
		t.Error("an address before Apply")
	}
	if err := s.Apply("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	first := s.Addr()
	if err := s.Apply("127.0.0.1:0"); err != nil || s.Addr() != first {
		t.Errorf("a reload has moved %s to %s: %v", first, s.Addr(), err)
	}
	if !strings.Contains(r.log.String(), fmt.Sprintf(`"address":%q`, first)) {
		t.Error("the chosen port is not logged:", r.log)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, bad := range []string{taken.Addr().String(), "127.0.0.1", "127.0.0.1:99999", "no such host:1"} {
		if err := s.Apply(bad); err == nil || !strings.HasPrefix(err.Error(), "admin.bind_address: ") {
			t.Errorf("%s: %v", bad, err)
		}
		if s.Addr() != first || !reachable(first) {
			t.Fatalf("%s has stopped the old server", bad)
		}
	}

	commit, err := s.Prepare("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	commit(false)
	if s.Addr() != first || !reachable(first) {
		t.Error("a configuration that was given up has moved the server")
	}
	if err := s.Apply("localhost:0"); err != nil || s.Addr() == first || reachable(first) || !reachable(s.Addr()) {
		t.Errorf("%s, then %s: %v", first, s.Addr(), err)
	}
	second := s.Addr()
	if err := s.Apply("off"); err != nil || s.Addr() != "" || reachable(second) {
		t.Errorf("off: %s %v", s.Addr(), err)
	}
	s.Shutdown(t.Context())
	if s.Apply("127.0.0.1:0") == nil {
		t.Error("it comes back after Shutdown")
	}
}

func TestDefaultThatIsTakenIsSkipped(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	s := NewMetrics(r.options)
	defer s.Shutdown(t.Context())
	s.fallback = taken.Addr().String()
	if err := s.Apply("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	configured := s.Addr()
	if err := s.Apply(""); err != nil || s.Addr() != "" {
		t.Fatalf("%s %v", s.Addr(), err)
	}
	if reachable(configured) {
		t.Error("an address that is not configured any more still answers")
	}
	if !strings.Contains(r.log.String(), `"level":"warn"`) || !strings.Contains(r.log.String(), "metrics.bind_address") {
		t.Error("no warning:", r.log)
	}
	if err := s.Apply(s.fallback); err == nil {
		t.Error("the same address is taken, configured, and no error")
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(""); err != nil || s.Addr() != s.fallback {
		t.Errorf("the next reload does not try again: %s %v", s.Addr(), err)
	}
}

// From 127.0.0.1:p to 0.0.0.0:p the server's own old address is in the way. Here it is localhost:p, because somebody else
// may have that port on another address of the machine.
func TestSamePortOtherHost(t *testing.T) {
	s := NewAdmin(newRig(t).options)
	defer s.Shutdown(t.Context())
	if err := s.Apply("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	first := s.Addr()
	_, port, _ := net.SplitHostPort(first)
	answers := func(configured string) {
		t.Helper()
		if status, _, _ := ask(t, first, "GET", "/livez", ""); status != 200 || s.Addr() != first || s.current.address != configured {
			t.Errorf("%d on %s, which is %s", status, s.Addr(), s.current.address)
		}
	}
	commit, err := s.Prepare("localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	commit(false)
	answers("127.0.0.1:0")
	if err := s.Apply("localhost:" + port); err != nil {
		t.Fatal(err)
	}
	answers("localhost:" + port)

	other, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err == nil { // else it is taken by somebody else, which is as good
		defer other.Close()
	}
	if err := s.Apply("0.0.0.0:" + port); err == nil {
		t.Error("an address that is taken was bound")
	}
	answers("localhost:" + port)
}

// What runs when the address changes, or the process stops, is finished.
func TestRequestsAreFinished(t *testing.T) {
	for _, how := range []string{"change", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			s := &Server{log: logr.Discard(), setting: "test", handler: func(string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					close(entered)
					<-leave
					text(w, "done")
				})
			}}
			address := serve(t, s)
			answer := make(chan string)
			go func() {
				_, _, body := ask(t, address, "GET", "/", "")
				answer <- body
			}()
			<-entered
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				if how == "shutdown" {
					s.Shutdown(context.WithoutCancel(t.Context()))
				} else if err := s.Apply(off); err != nil {
					t.Error(err)
				}
			}()
			if how == "change" {
				<-stopped
			}
			close(leave)
			if body := <-answer; body != "done" {
				t.Error(body)
			}
			<-stopped
		})
	}
}

func TestShutdownCutsOff(t *testing.T) {
	entered := make(chan struct{})
	s := &Server{log: logr.Discard(), setting: "test", handler: func(string) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		})
	}}
	address := serve(t, s)
	failed := make(chan error)
	go func() {
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address)
		if err == nil {
			err = response.Body.Close()
		}
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := limited(raw, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	one, two := <-accepted, <-accepted
	limit, ok := ln.(*limitedListener)
	if !ok || len(limit.slots) != cap(limit.slots) {
		t.Fatal("the limit is not reached")
	}
	for range 2 {
		_ = one.Close() // twice frees one place
	}
	three := <-accepted
	if len(limit.slots) != 2 {
		t.Errorf("%d places are taken", len(limit.slots))
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("Accept does not end")
	}
	_, _ = two.Close(), three.Close()
}

package dataplane

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestBindErrorNamesEveryAddress: who drops what is named can apply the rest.
func TestBindErrorNamesEveryAddress(t *testing.T) {
	d := newPlane(t)
	origin := rawOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	var taken []string
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		taken = append(taken, ln.Addr().String())
	}
	s := configuration(taken[0], origin)
	for _, address := range []string{"127.0.0.1:0", taken[1]} {
		more := configuration(address, origin)
		s.Listeners = append(s.Listeners, more.Listeners...)
	}
	err := d.Apply(context.Background(), s)
	var failed *BindError
	if !errors.As(err, &failed) {
		t.Fatalf("the error is %v", err)
	}
	var names []string
	for _, f := range failed.Failures {
		names = append(names, f.Address)
		if !errors.Is(f.Err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), f.Err.Error()) {
			t.Errorf("%s: %v, in %v", f.Address, f.Err, err)
		}
	}
	if strings.Join(names, " ") != strings.Join(taken, " ") || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the failures are of %v, want %v", names, taken)
	}
	if d.Ready() || d.Bound("127.0.0.1:0") != "" {
		t.Error("a part of a refused configuration serves")
	}
	rest := *s
	rest.Listeners = []*snapshot.Listener{s.Listeners[1]}
	apply(t, d, &rest)
	if d.Bound("127.0.0.1:0") == "" || !d.Ready() {
		t.Error("what is left does not serve")
	}
}

package client

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A response that nobody reads lies here with firstWindow. Those that are read may have more at a time, but only some of a
// connection: what is between their two windows would else be had for a few bytes that are read on each stream.
func TestWindowsGrow(t *testing.T) {
	first, allowed := make(chan uint32, 1), make(chan uint32, 1)
	pool := scripted(t, func(p *peer) {
		p.settle()
		p.until(func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
					first <- n
				}
			case *http2.MetaHeadersFrame:
				p.headers(f.StreamID, false, ":status: 200")
				p.data(f.StreamID, false, strings.Repeat("x", firstWindow))
			case *http2.WindowUpdateFrame:
				if f.StreamID != 0 {
					allowed <- f.Increment
				}
			}
			return false
		})
	})
	var running []*exchange.Exchange
	grows := func() bool {
		t.Helper()
		x, _ := request(exchange.GET, "/")
		if err := pool.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		running = append(running, x)
		for left := firstWindow / 2; left > 0; {
			n, err := x.Response.Body.Read(make([]byte, left))
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		n := <-allowed
		if n != firstWindow/2 && n != firstWindow/2+streamWindow-firstWindow {
			t.Fatalf("%d bytes more are allowed", n)
		}
		return n > firstWindow
	}
	for i := range maxGrown + 2 {
		if got := grows(); got != (i < maxGrown) {
			t.Fatalf("whether the window of the stream %d grows: %t", i, got)
		}
	}
	if n := <-first; n != firstWindow {
		t.Errorf("the first window is %d", n)
	}
	running[0].ResetResponse()
	if !grows() {
		t.Error("a stream that is over keeps its place")
	}
	for _, x := range running[1:] {
		x.ResetResponse()
	}
	if n := pool.Size(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

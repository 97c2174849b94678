//go:build !race

package http2

import (
	"testing"

	h2 "golang.org/x/net/http2"
)

// maxAllocations is how many a request may cost, once its connection has seen its like: one, for the Framer's HEADERS
// frame. A value that was not sent before costs hpack a string.
const maxAllocations = 1

// TestAllocations counts what a request allocates, the client's part left out.
func TestAllocations(t *testing.T) {
	once := tinyRequests(t)
	for range 100 {
		once()
	}
	// The client's Framer makes one frame for the HEADERS that it reads.
	if n := testing.AllocsPerRun(500, once) - 1; n > maxAllocations {
		t.Errorf("%v allocations a request", n)
	} else {
		t.Logf("%v allocations a request", n)
	}
}

// BenchmarkRequest serves tiny requests on one connection, one at a time.
func BenchmarkRequest(b *testing.B) {
	once := tinyRequests(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

// tinyRequests returns a function that asks for something tiny, and waits for the answer.
func tinyRequests(t testing.TB) func() {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain", h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 30})
	_ = p.framer.WriteWindowUpdate(0, 1<<30)
	p.flush()
	p.framer.ReadMetaHeaders = nil
	p.framer.SetReuseFrames()
	id := uint32(1)
	block := p.request("GET", "/tiny", "accept", "text/html", "user-agent", "a browser", "x-request-id", "0123456789")
	again := p.request("GET", "/tiny", "accept", "text/html", "user-agent", "a browser", "x-request-id", "0123456789")
	return func() {
		p.headers(id, true, block)
		p.flush()
		for {
			f, err := p.framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Header().StreamID == id && f.Header().Flags.Has(h2.FlagDataEndStream) {
				break
			}
		}
		id += 2
		block = again
	}
}

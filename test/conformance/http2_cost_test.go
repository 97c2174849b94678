package conformance

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// An attacker is a raw HTTP/2 client.
type attacker struct {
	nc      net.Conn
	out     bytes.Buffer
	block   bytes.Buffer
	framer  *http2.Framer
	encoder *hpack.Encoder
}

func attack(t *testing.T, address string, settings ...http2.Setting) *attacker {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	a := &attacker{nc: nc}
	a.framer = http2.NewFramer(&a.out, nc)
	a.encoder = hpack.NewEncoder(&a.block)
	a.out.WriteString(http2.ClientPreface)
	_ = a.framer.WriteSettings(settings...)
	return a
}

func (a *attacker) flush() error {
	_, err := a.nc.Write(a.out.Bytes())
	a.out.Reset()
	return err
}

func (a *attacker) request(id uint32, path string, more ...hpack.HeaderField) {
	a.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: "a.example"},
		{Name: ":path", Value: path},
	}, more...) {
		_ = a.encoder.WriteField(f)
	}
	_ = a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.block.Bytes(), EndStream: true, EndHeaders: true})
}

// bombBytes is what an attack over HTTP/2 may cost of memory.
const bombBytes = 16 << 20

// A target is a proxy of its own in front of an origin that counts the requests of attackers.
type target struct {
	proxy   *harness.Proxy
	address string
	asked   atomic.Int64
}

func newTarget(t *testing.T) *target {
	t.Helper()
	s := &target{}
	large := bytes.Repeat([]byte("x"), 1<<20)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			s.asked.Add(1)
			_, _ = w.Write(large)
		case "/tiny":
			s.asked.Add(1)
			fallthrough
		default:
			_, _ = io.WriteString(w, "tiny")
		}
	}))
	t.Cleanup(origin.Close)
	s.proxy = harness.Start(t, "access_log: {path: 'off'}\nservices: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['"+
		strings.TrimPrefix(origin.URL, "http://")+"']}]", harness.Options{Measured: true})
	s.address = s.proxy.Addr(t, "web")
	return s
}

// watch returns the most memory that the proxy has taken, beyond what it had, until the attack returns.
func (s *target) watch(t *testing.T, attack func()) (most int) {
	t.Helper()
	before := resident(t, s.proxy.PID())
	done := make(chan struct{})
	go func() { attack(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
		most = max(most, resident(t, s.proxy.PID())-before)
	}
	return most
}

// TestHeaderBombs: fields of a byte each that stand for thousands, in front of a window that stays shut, so that what has
// been asked for is held (CVE-2026-47774).
func TestHeaderBombs(t *testing.T) {
	t.Parallel()
	const connections = 4
	for _, c := range []struct {
		name     string
		requests uint32
		fields   []hpack.HeaderField // indexed from the second request on
	}{
		// As large as a head may be.
		{"large fields", 100, slices.Repeat([]hpack.HeaderField{{Name: "cookie", Value: strings.Repeat("x", 3900)}}, 15)},
		// Nothing but what each field costs by itself; the field is in the table of every peer.
		{"small fields", 100, slices.Repeat([]hpack.HeaderField{{Name: "accept-encoding", Value: "gzip, deflate"}}, 115)},
		// Far larger than a head may be: 15,000 bytes that stand for 60 MB.
		{"beyond every limit", 4, slices.Repeat([]hpack.HeaderField{{Name: "cookie", Value: strings.Repeat("x", 3900)}}, 15000)},
	} {
		t.Run(c.name, func(t *testing.T) { // one behind the other: each has a proxy to itself
			s := newTarget(t)
			ordinary := startOrdinary(t, s.address)
			ordinary.await(4 * ordinaryClients) // the memory that they need is there
			var streams, refused atomic.Int64
			most := s.watch(t, func() {
				var reading sync.WaitGroup
				for range connections {
					a := attack(t, s.address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
					for i := range c.requests {
						a.request(2*i+1, "/large", c.fields...)
						streams.Add(1)
					}
					_ = a.nc.SetDeadline(time.Now().Add(2 * time.Second)) // for so long what it holds is looked at
					reading.Go(func() { _ = a.flush() })                  // the end of it may not be heard any more
					reading.Go(func() {
						for {
							f, err := a.framer.ReadFrame()
							if err != nil {
								return
							}
							switch f.(type) {
							case *http2.RSTStreamFrame, *http2.GoAwayFrame:
								refused.Add(1)
							}
						}
					})
				}
				reading.Wait()
			})
			ordinary.stop(t)
			t.Logf("%d KiB more, %d refusals of %d streams", most>>10, refused.Load(), streams.Load())
			if most > bombBytes {
				t.Errorf("%d connections cost %d KiB of memory, more than %d", connections, most>>10, bombBytes>>10)
			}
			if c.name != "small fields" && refused.Load() == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}

package conformance

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// TestHTTP2CostsLittle lets loose on a proxy what costs a client of HTTP/2 nothing: fields of a byte each that stand for
// thousands, in front of a window that stays shut (CVE-2026-47774), and resets (CVE-2023-44487).
func TestHTTP2CostsLittle(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	large := bytes.Repeat([]byte("x"), 1<<20)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/large" {
			_, _ = w.Write(large)
			return
		}
		_, _ = io.WriteString(w, "tiny")
	}))
	t.Cleanup(origin.Close)
	p := harness.Start(t, "access_log: {path: 'off'}\nservices: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['"+
		strings.TrimPrefix(origin.URL, "http://")+"']}]", harness.Options{})
	address := p.Addr(t, "web")

	t.Run("header bomb", func(t *testing.T) {
		before := resident(t, p.PID())
		const connections = 4
		bomb := hpack.HeaderField{Name: "cookie", Value: strings.Repeat("x", 3900)}
		fields := []hpack.HeaderField{}
		for range 15 {
			fields = append(fields, bomb)
		}
		var refused atomic.Int64
		var reading sync.WaitGroup
		for range connections {
			a := attack(t, address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			for i := range uint32(100) {
				a.request(2*i+1, "/large", fields...)
			}
			if err := a.flush(); err != nil {
				t.Fatal(err)
			}
			_ = a.nc.SetReadDeadline(time.Now().Add(2 * time.Second)) // for so long what it holds is looked at
			reading.Go(func() {
				for {
					f, err := a.framer.ReadFrame()
					if err != nil {
						return
					}
					if _, ok := f.(*http2.RSTStreamFrame); ok {
						refused.Add(1)
					}
				}
			})
		}
		most := before
		done := make(chan struct{})
		go func() { reading.Wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			case <-time.After(20 * time.Millisecond):
			}
			most = max(most, resident(t, p.PID()))
		}
		bound := 16 << 20
		if harness.Race {
			bound *= 8 // it shadows memory, and has pools drop what they are given
		}
		t.Logf("%d KiB more, %d streams refused", (most-before)>>10, refused.Load())
		if most-before > bound {
			t.Errorf("%d connections cost %d KiB of memory, more than %d", connections, (most-before)>>10, bound>>10)
		}
		if refused.Load() == 0 {
			t.Error("no stream was refused")
		}
	})

	t.Run("resets", func(t *testing.T) {
		const resets = 50000
		asked.Store(0)
		a := attack(t, address)
		sent := 0
		for i := range uint32(resets) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
			if a.out.Len() > 4096 {
				if a.flush() != nil {
					break
				}
			}
			sent++
		}
		_ = a.flush()
		_ = a.nc.SetReadDeadline(time.Now().Add(patience))
		told := false
		for {
			f, err := a.framer.ReadFrame()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the connection ended with %v", err)
				}
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				told = g.ErrCode == http2.ErrCodeEnhanceYourCalm
			}
		}
		n := asked.Load()
		t.Logf("%d of %d were sent before the client was cut off (told so: %t); %d reached the origin", sent, resets, told, n)
		if n > resets/20 {
			t.Errorf("%d of %d requests that were reset reached the origin", n, resets)
		}
	})
}

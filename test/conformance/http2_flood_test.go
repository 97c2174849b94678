package conformance

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// floods is how often a flood does what it does, if it is let.
const floods = 50000

// TestFloods: who has work done for nothing is cut off, costs little memory, and keeps nobody from being served. Of streams
// that end by a reset, the client's own (Rapid Reset, CVE-2023-44487) or one that it makes the proxy send (MadeYouReset,
// CVE-2025-8671), under 5 % reach the origin.
func TestFloods(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	ordinary := startOrdinary(t, s.address)
	ordinary.await(4 * ordinaryClients)
	upload := func(a *attacker) {
		a.block.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a.example"}, {":path", "/tiny"}} {
			a.field(f[0], f[1])
		}
		_ = a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.block.Bytes(), EndHeaders: true})
	}
	open := func(a *attacker) {
		a.block.Reset()
		a.field(":method", "GET")
		_ = a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.block.Bytes()})
	}
	for _, c := range []struct {
		name  string
		begin func(a *attacker)
		each  func(a *attacker, i uint32)
	}{
		{"Rapid Reset", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}},
		{"Rapid Reset of what runs", nil, func(a *attacker, i uint32) { // a hundred at a time, when they are under way
			a.request(2*i+1, "/tiny")
			if i%100 == 99 && a.flush() == nil {
				for j := i - 99; j <= i; j++ {
					_ = a.framer.WriteRSTStream(2*j+1, http2.ErrCodeCancel)
				}
			}
		}},
		{"MadeYouReset by an empty window", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WriteWindowUpdate(2*i+1, 0)
		}},
		{"MadeYouReset by a window too large", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WriteWindowUpdate(2*i+1, 1<<31-1)
		}},
		{"MadeYouReset by DATA behind the end", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WriteData(2*i+1, true, []byte("x"))
		}},
		{"MadeYouReset by HEADERS behind the end", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			a.request(2*i+1, "/tiny")
		}},
		{"MadeYouReset by a stream that depends on itself", nil, func(a *attacker, i uint32) {
			a.request(2*i+1, "/tiny")
			_ = a.framer.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 1})
		}},
		{"malformed requests", nil, func(a *attacker, i uint32) {
			a.block.Reset()
			a.field(":method", "GET")
			a.field("connection", "close")
			_ = a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: a.block.Bytes(), EndStream: true, EndHeaders: true})
		}},
		{"PING", nil, func(a *attacker, _ uint32) { _ = a.framer.WritePing(false, [8]byte{}) }},
		{"PING ACK", nil, func(a *attacker, _ uint32) { _ = a.framer.WritePing(true, [8]byte{}) }},
		{"SETTINGS", nil, func(a *attacker, _ uint32) {
			_ = a.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		}},
		{"SETTINGS of the table's size", nil, func(a *attacker, i uint32) {
			_ = a.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: i % 2 * 4096})
		}},
		{"PRIORITY", nil, func(a *attacker, i uint32) { _ = a.framer.WritePriority(2*i+1, http2.PriorityParam{Weight: 1}) }},
		{"WINDOW_UPDATE", nil, func(a *attacker, _ uint32) { _ = a.framer.WriteWindowUpdate(0, 1) }},
		{"unknown frames", nil, func(a *attacker, _ uint32) { _ = a.framer.WriteRawFrame(99, 0, 0, nil) }},
		{"empty DATA", upload, func(a *attacker, _ uint32) { _ = a.framer.WriteData(1, false, nil) }},
		{"padding", upload, func(a *attacker, _ uint32) { _ = a.framer.WriteDataPadded(1, false, nil, make([]byte, 200)) }},
		{"empty CONTINUATION", open, func(a *attacker, _ uint32) { _ = a.framer.WriteContinuation(1, false, nil) }},
		{"CONTINUATION", open, func(a *attacker, _ uint32) {
			a.block.Reset()
			a.field("x", strings.Repeat("y", 4000))
			_ = a.framer.WriteContinuation(1, false, a.block.Bytes())
		}},
	} {
		t.Run(c.name, func(t *testing.T) { // one behind the other: each has the proxy's memory to itself
			const attackers = 4
			s.asked.Store(0)
			var sent, told atomic.Int64
			most := s.watch(t, func() {
				var running sync.WaitGroup
				for range attackers {
					a := attack(t, s.address)
					running.Go(func() {
						if c.begin != nil {
							c.begin(a)
						}
						_ = a.nc.SetDeadline(time.Now().Add(2 * patience))
						for i := range uint32(floods / attackers) {
							c.each(a, i)
							if a.out.Len() > 4096 && a.flush() != nil {
								return
							}
							sent.Add(1)
						}
						_ = a.flush()
					})
					running.Go(func() {
						calm, err := a.last()
						if calm {
							told.Add(1)
						}
						if errors.Is(err, os.ErrDeadlineExceeded) {
							t.Error("the client was not cut off")
						}
					})
				}
				running.Wait()
			})
			n := s.asked.Load()
			t.Logf("%d of %d written by clients that were cut off (%d of %d told so); %d reached the origin; %d KiB more",
				sent.Load(), floods, told.Load(), attackers, n, most>>10)
			if n >= floods/20 {
				t.Errorf("%d of %d requests reached the origin", n, floods)
			}
			if most > bombBytes {
				t.Errorf("it cost %d KiB of memory, more than %d", most>>10, bombBytes>>10)
			}
		})
	}
	ordinary.stop(t)
}

func (a *attacker) field(name, value string) {
	_ = a.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// last reads to the end of the connection, and reports whether it was GOAWAY that said why.
func (a *attacker) last() (calm bool, err error) {
	for {
		f, err := a.framer.ReadFrame()
		if err != nil {
			return calm, err
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			calm = g.ErrCode == http2.ErrCodeEnhanceYourCalm
		}
	}
}

package reliability

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// slowLimit is the limit that slow clients run into, in seconds, as it is configured.
const slowLimit = 4

var slowClients = scenario{
	name:  "slow-clients",
	title: "slow clients beside 50 ordinary ones, a quarter of them each in another way",
	run: func(t *testing.T, r *run) {
		for _, c := range []struct {
			what, protocol string
			ways           []way
		}{
			{"over HTTP/1.1: heads, bodies, silence, responses that are not read", "", []way{slowHead, slowBody, silence, slowReader}},
			{"over TLS: the same", "http/1.1", []way{slowHead, slowBody, halfHello, slowReader}},
			{"over HTTP/2: heads, bodies, no frames, windows of 0", "h2", []way{slowHeaders, slowData, slowPreface, zeroWindow}},
		} {
			r.part(t, c.what, func(t *testing.T) {
				s := besiege(t, r, fmt.Sprintf("header_timeout_ms: %d", 1000*slowLimit), fmt.Sprintf("    timeouts: {idle_secs: %d}\n", slowLimit), answerEndlessly)
				clients := r.of(200, 1500)
				var running sync.WaitGroup
				var mu sync.Mutex
				var cut durations
				latest, uncut := "", 0
				for i := range clients {
					running.Go(func() {
						took, err := s.slow(i, c.protocol, c.ways[i*len(c.ways)/clients])
						mu.Lock()
						defer mu.Unlock()
						if err != nil {
							uncut++
							t.Log(err)
							return
						}
						if cut = append(cut, took); took == cut.percentile(100) {
							latest = c.ways[i*len(c.ways)/clients].name
						}
					})
				}
				running.Wait()
				s.reports(t, r, c.what, fmt.Sprintf("%d slow clients, all cut off after %.1f s (median) to %.1f s (%s), of a limit of %d s",
					clients, cut.percentile(50).Seconds(), cut.percentile(100).Seconds(), latest, slowLimit), 32)
				if uncut > 0 {
					t.Errorf("%d of %d were not cut off", uncut, clients)
				}
				if late := cut.percentile(100); r.long && late > (slowLimit+2)*time.Second {
					t.Errorf("one was cut off after %v", late)
				}
			})
		}
	},
}

// A way to be slow: what is sent at first, and each second from then on.
type way struct {
	name       string
	raw        bool // without the protocol: the handshake itself is slow
	first      func() []byte
	then       func() []byte // nil: nothing
	neverReads bool
	overFrames bool
}

var (
	slowHead = way{
		name:  "head",
		first: func() []byte { return []byte("GET /load HTTP/1.1\r\nHost: load\r\nX-Slow: ") },
		then:  func() []byte { return []byte("a") },
	}
	slowBody = way{
		name:  "body",
		first: func() []byte { return []byte("POST /load HTTP/1.1\r\nHost: load\r\nContent-Length: 1000000\r\n\r\n") },
		then:  func() []byte { return []byte("a") },
	}
	silence    = way{name: "silence", first: func() []byte { return nil }}
	slowReader = way{
		name:  "reader",
		first: func() []byte { return []byte("GET /load HTTP/1.1\r\nHost: load\r\n\r\n") }, neverReads: true,
	}
	halfHello = way{
		name: "hello", raw: true,
		first: func() []byte { return []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") }, then: func() []byte { return []byte("a") },
	}
	slowHeaders = way{
		name: "headers", overFrames: true,
		first: func() []byte {
			return frames(func(f *http2.Framer) {
				_ = f.WriteSettings()
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("GET")[:4]})
			})
		},
		then: func() []byte { return nil },
	}
	slowData = way{
		name: "data", overFrames: true,
		first: func() []byte {
			return frames(func(f *http2.Framer) {
				_ = f.WriteSettings()
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("POST"), EndHeaders: true})
			})
		},
		then: func() []byte {
			var b bytes.Buffer
			_ = http2.NewFramer(&b, nil).WriteData(1, false, []byte("a"))
			return b.Bytes()
		},
	}
	slowPreface = way{name: "preface", overFrames: true, first: func() []byte { return []byte(http2.ClientPreface[:5]) }}
	zeroWindow  = way{
		name: "window", overFrames: true,
		first: func() []byte {
			return frames(func(f *http2.Framer) {
				_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("GET"), EndHeaders: true, EndStream: true})
			})
		},
	}
)

// frames are the preface of a connection over HTTP/2 and what write adds.
func frames(write func(f *http2.Framer)) []byte {
	b := bytes.NewBufferString(http2.ClientPreface)
	write(http2.NewFramer(b, nil))
	return b.Bytes()
}

// block is a header block.
func block(method string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "load"}, {":path", "/load"}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return b.Bytes()
}

// slow is one slow client. It returns how long it was put up with, since it kept the proxy waiting.
func (s *siege) slow(i int, protocol string, w way) (time.Duration, error) {
	var conn net.Conn
	var err error
	if w.raw {
		conn, err = from(i).Dial("tcp", s.secure) //nolint:noctx // the dialer has a time-out
	} else {
		conn, err = s.open(i, protocol)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	defer conn.Close()
	began, taken := time.Now(), 0
	if _, err := conn.Write(w.first()); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		switch {
		case w.neverReads: // whether it is cut off is seen where nothing can be sent any more
		case w.overFrames:
			f := http2.NewFramer(nil, conn)
			for {
				frame, err := f.ReadFrame()
				if err != nil || frame.Header().Type == http2.FrameRSTStream || frame.Header().Type == http2.FrameGoAway {
					return
				}
			}
		default:
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	beat := time.Second
	if w.neverReads {
		beat /= 5 // it is cut off when it sends next
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		if w.neverReads {
			if s.gone(conn) {
				return time.Since(began), nil
			}
			if n := lies(conn); n > taken { // its kernel has room, and takes what nobody reads: nothing keeps the proxy waiting yet
				taken, began = n, time.Now()
			}
		} else {
			select {
			case <-ended:
				return time.Since(began), nil
			default:
			}
		}
		if time.Since(began) > harness.Patience {
			return 0, fmt.Errorf("%s: it is still put up with", w.name)
		}
		select {
		case <-ended:
			if !w.neverReads {
				return time.Since(began), nil
			}
			<-tick.C
		case <-tick.C:
		}
		if w.then != nil {
			if _, err := conn.Write(w.then()); err != nil {
				return time.Since(began), nil
			}
		}
	}
}

// gone reports whether the other side has ended a connection of which nothing is read: a further request cannot be sent.
func (s *siege) gone(conn net.Conn) bool {
	_, err := io.Copy(conn, strings.NewReader("\r\n"))
	return err != nil
}

// lies is how many bytes have come to a client that it has not read.
func lies(conn net.Conn) (n int) {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	}
	return n
}

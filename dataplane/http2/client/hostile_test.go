package client

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
)

// What makes a head malformed is never passed on, and never taken for a response without it.
func TestMalformedHeads(t *testing.T) {
	many := []string{":status: 200"}
	for range 200 {
		many = append(many, "x: y")
	}
	for _, c := range []struct {
		name   string
		end    bool
		fields []string
	}{
		{"no status", true, []string{"x: y"}},
		{"a short status", true, []string{":status: 20"}},
		{"a status that is no number", true, []string{":status: 2x0"}},
		{"a status of nobody", true, []string{":status: 600"}},
		{"two statuses", true, []string{":status: 200", ":status: 404"}},
		{"a pseudo-field of requests", true, []string{":status: 200", ":path: /"}},
		{"a late pseudo-field", true, []string{"x: y", ":status: 200"}},
		{"a name in upper case", true, []string{":status: 200", "X: y"}},
		{"an empty name", true, []string{":status: 200", " : y"}},
		{"a name with a space", true, []string{":status: 200", "x y: z"}},
		{"a line feed in a value", true, []string{":status: 200", "x: a\nb"}},
		{"a line in a value", true, []string{":status: 200", "x: a\r\nset-cookie: b"}},
		{"a NUL in a value", true, []string{":status: 200", "x: a\x00b"}},
		{"space behind a value", true, []string{":status: 200", "x: a "}},
		{"Connection", true, []string{":status: 200", "connection: close"}},
		{"Transfer-Encoding", false, []string{":status: 200", "transfer-encoding: chunked"}},
		{"Upgrade", true, []string{":status: 200", "upgrade: h2c"}},
		{"switching protocols", false, []string{":status: 101"}},
		{"an interim response that ends", true, []string{":status: 103"}},
		{"two lengths", false, []string{":status: 200", "content-length: 5", "content-length: 5"}},
		{"a length with a sign", false, []string{":status: 200", "content-length: +5"}},
		{"a length of two", false, []string{":status: 200", "content-length: 5, 5"}},
		{"a length without a body", true, []string{":status: 200", "content-length: 5"}},
		{"too large a head", true, []string{":status: 200", "x: " + strings.Repeat("y", 63<<10), "z: " + strings.Repeat("y", 3<<10)}},
		{"too many fields", true, many},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := scripted(t, func(p *peer) {
				p.settle()
				for id := p.request(); id != 0; id = p.request() {
					if id > 1 {
						p.headers(id, true, ":status: 204")
						continue
					}
					block := p.block(c.fields...)
					if c.name == "an empty name" {
						block = append(p.block(":status: 200"), 0, 0, 1, 'y')
					}
					n := min(len(block), output.MaxFrame)
					_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndHeaders: n == len(block), EndStream: c.end})
					for block = block[n:]; len(block) > 0; block = block[n:] {
						n = min(len(block), output.MaxFrame)
						_ = p.framer.WriteContinuation(id, n == len(block), block[:n])
					}
				}
			})
			x, _ := request(exchange.POST, "/")
			f := failure(t, pool.RoundTrip(x, in(patience)), exchange.UpstreamProtocol)
			if !f.Sent {
				t.Error("it says that nothing was sent")
			}
			x, _ = request(exchange.GET, "/") // the connection lives, and the next head is decoded
			if err := pool.RoundTrip(x, in(patience)); err != nil || x.Response.Status != 204 {
				t.Fatalf("the next request: %v", err)
			}
			x.ResetResponse()
			if n := pool.Size(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A body that is not what its head announced never ends cleanly.
func TestBodiesThatAreNotAsAnnounced(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer, id uint32)
		whole  string // that may be read
		ok     bool
	}{
		{"as announced", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200", "content-length: 5")
			p.data(id, true, "hello")
		}, "hello", true},
		{"without an announcement", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hel")
			p.data(id, false, "")
			_ = p.framer.WriteDataPadded(id, true, []byte("lo"), make([]byte, 200))
		}, "hello", true},
		{"shorter", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200", "content-length: 10")
			p.data(id, true, "hello")
		}, "hello", false},
		{"shorter, with a trailer", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200", "content-length: 10")
			p.data(id, false, "hello")
			p.headers(id, true, "x: y")
		}, "hello", false},
		{"longer", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200", "content-length: 5")
			p.data(id, false, "hello")
			p.data(id, true, "HTTP/1.1 200 OK")
		}, "hello", false},
		{"reset", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hello")
			_ = p.framer.WriteRSTStream(id, http2.ErrCodeInternal)
		}, "hello", false},
		{"reset without an error", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hello")
			_ = p.framer.WriteRSTStream(id, http2.ErrCodeNo)
		}, "hello", false},
		{"complete, then reset", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, true, "hello")
			_ = p.framer.WriteRSTStream(id, http2.ErrCodeInternal)
		}, "hello", true},
		{"a connection that ends", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hello")
			_ = p.nc.Close()
		}, "hello", false},
		{"a trailer with a status", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hello")
			p.headers(id, true, ":status: 200")
		}, "hello", false},
		{"a trailer that does not end it", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			p.data(id, false, "hello")
			p.headers(id, false, "x: y")
		}, "hello", false},
		{"more than allowed", func(p *peer, id uint32) {
			p.headers(id, false, ":status: 200")
			for range 5 { // nothing of it is read meanwhile
				p.data(id, false, strings.Repeat("x", output.MaxFrame))
			}
		}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := make(chan struct{})
			pool := scripted(t, func(p *peer) {
				p.settle()
				id := p.request()
				c.script(p, id)
				// What was sent before is read when this is answered.
				_ = p.framer.WritePing(false, [8]byte{1})
				p.until(func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
				close(sent)
				p.drain()
			})
			x, _ := request(exchange.GET, "/")
			if err := pool.RoundTrip(x, in(patience)); err != nil {
				t.Fatal(err)
			}
			<-sent
			body, err := read(x)
			if c.whole != "" && body != c.whole || (err == nil) != c.ok {
				t.Errorf("%d bytes, %q, %v", len(body), body[:min(len(body), 40)], err)
			}
			if err != nil {
				fails(t, err, exchange.UpstreamTruncated)
			}
			x.ResetResponse()
		})
	}
}

// What breaks the connection's rules ends it, and every exchange on it.
func TestConnectionsThatBreakTheRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer, id uint32)
	}{
		{"fields that cannot be decoded", func(p *peer, id uint32) {
			_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}},
		{"CONTINUATION without end", func(p *peer, id uint32) {
			_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(":status: 200")})
			for range 10000 {
				if p.framer.WriteContinuation(id, false, nil) != nil {
					return
				}
			}
		}},
		{"a block that is too large", func(p *peer, id uint32) {
			_ = p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(":status: 200")})
			block := p.block("x: " + strings.Repeat("~", 10000))
			for range 100 {
				if p.framer.WriteContinuation(id, false, block) != nil {
					return
				}
			}
		}},
		{"a push", func(p *peer, id uint32) {
			_ = p.framer.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: p.block(":status: 200"), EndHeaders: true})
		}},
		{"a stream that was not opened", func(p *peer, _ uint32) { p.headers(99, true, ":status: 200") }},
		{"a stream of the endpoint", func(p *peer, _ uint32) { p.headers(2, true, ":status: 200") }},
		{"data of a stream that was not opened", func(p *peer, _ uint32) { p.data(99, true, "x") }},
		{"a window that is too large", func(p *peer, _ uint32) { _ = p.framer.WriteWindowUpdate(0, 1<<31-1) }},
		{"a setting that is not valid", func(p *peer, _ uint32) {
			_ = p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"a frame that is too large", func(p *peer, id uint32) {
			_ = p.framer.WriteRawFrame(http2.FrameData, 0, id, make([]byte, output.MaxFrame+1))
		}},
		{"pings without end", func(p *peer, _ uint32) {
			for range 3 * maxNuisance {
				if p.framer.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		}},
		{"settings without end", func(p *peer, _ uint32) {
			for range 3 * maxNuisance {
				if p.framer.WriteSettings() != nil {
					return
				}
			}
		}},
		{"frames of no type without end", func(p *peer, _ uint32) {
			for range 3 * maxNuisance {
				if p.framer.WriteRawFrame(0x77, 0, 0, nil) != nil {
					return
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := scripted(t, func(p *peer) {
				p.settle()
				id := p.request()
				if id == 0 {
					return
				}
				read := make(chan struct{})
				go func() { // lest the connection ends for want of somebody who reads
					defer close(read)
					p.drain()
				}()
				c.script(p, id)
				<-read
			})
			x, _ := request(exchange.POST, "/")
			f := failure(t, pool.RoundTrip(x, in(patience)), exchange.UpstreamReset)
			if !f.Sent || !strings.Contains(f.Error(), "HTTP/2") && !strings.Contains(f.Error(), "connection error") &&
				!strings.Contains(f.Error(), "too large") {
				t.Errorf("%+v", f)
			}
			for end := time.Now().Add(patience); pool.Size() > 0; {
				if time.Now().After(end) {
					t.Fatal("the connection is still there")
				}
			}
		})
	}
}

func TestSettingsMustComeFirst(t *testing.T) {
	pool := scripted(t, func(p *peer) {
		id := p.request()
		p.headers(id, true, ":status: 200")
		p.drain()
	})
	x, _ := request(exchange.POST, "/")
	fails(t, pool.RoundTrip(x, in(patience)), exchange.UpstreamReset)
}

func TestTooManyInterimResponses(t *testing.T) {
	pool := scripted(t, func(p *peer) {
		p.settle()
		id := p.request()
		for range maxInterim + 1 {
			p.headers(id, false, ":status: 103")
		}
		p.drain()
	})
	x, _ := request(exchange.GET, "/")
	fails(t, pool.RoundTrip(x, in(patience)), exchange.UpstreamProtocol)
}

// maxRefused is that of package pool.
const maxRefused = 3

// Only what the endpoint says it did not look at may be sent again, if it must not be sent twice.
func TestWhatWasNotSent(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer, id uint32)
		sent   bool
		tries  int32
	}{
		{"refused", func(p *peer, id uint32) { _ = p.framer.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, false, maxRefused + 1},
		{"another code", func(p *peer, id uint32) { _ = p.framer.WriteRSTStream(id, http2.ErrCodeInternal) }, true, 1},
		{"canceled", func(p *peer, id uint32) { _ = p.framer.WriteRSTStream(id, http2.ErrCodeCancel) }, true, 1},
		{"left before it", func(p *peer, id uint32) { _ = p.framer.WriteGoAway(id-1, http2.ErrCodeNo, nil) }, false, maxRefused + 1},
		{"left behind it", func(p *peer, id uint32) {
			_ = p.framer.WriteGoAway(id, http2.ErrCodeNo, nil)
			_ = p.nc.Close()
		}, true, 1},
		{"closed", func(p *peer, _ uint32) { _ = p.nc.Close() }, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tries atomic.Int32
			pool := scripted(t, func(p *peer) {
				p.settle()
				for id := p.request(); id != 0; id = p.request() {
					tries.Add(1)
					c.script(p, id)
				}
			})
			x, _ := request(exchange.POST, "/")
			newSource(x, 4, "body") // all of it is at hand: it can be sent again
			f := failure(t, pool.RoundTrip(x, in(patience)), exchange.UpstreamReset)
			if f.Sent != c.sent || f.BodyRead || tries.Load() != c.tries {
				t.Errorf("%+v after %d tries", f, tries.Load())
			}
		})
	}
}

// An endpoint that leaves answers what it said it would; what comes then has another connection.
func TestGoAwayLetsAnswersCome(t *testing.T) {
	var conns atomic.Int32
	pool := scripted(t, func(p *peer) {
		conns.Add(1)
		p.settle()
		id := p.request()
		if id == 0 {
			return
		}
		_ = p.framer.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		_ = p.framer.WriteGoAway(id, http2.ErrCodeNo, nil)
		p.headers(id, false, ":status: 200")
		p.data(id, true, "late")
		p.drain()
	})
	for range 3 {
		x, _ := request(exchange.GET, "/")
		if err := pool.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		if body, err := read(x); body != "late" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		x.ResetResponse()
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// A request that met the end of a connection that was used before is sent once more if it is idempotent.
func TestEndOfAUsedConnection(t *testing.T) {
	for _, method := range []exchange.Method{exchange.GET, exchange.POST} {
		var requests atomic.Int32
		pool := scripted(t, func(p *peer) {
			p.settle()
			for id := p.request(); id != 0; id = p.request() {
				if requests.Add(1) == 2 {
					return
				}
				p.headers(id, true, ":status: 200")
			}
		})
		x, _ := request(exchange.GET, "/")
		if err := pool.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		x.ResetResponse()
		x, _ = request(method, "/")
		err := pool.RoundTrip(x, in(patience))
		if (err == nil) != method.Idempotent() {
			t.Errorf("%v: %v", method, err)
		}
		if err == nil {
			x.ResetResponse()
		}
	}
}

func TestHeadWithABody(t *testing.T) {
	pool := scripted(t, func(p *peer) {
		p.settle()
		for id := p.request(); id != 0; id = p.request() {
			p.headers(id, false, ":status: 200", "content-length: 5")
			p.data(id, true, "hello")
		}
	})
	for range 3 {
		x, _ := request(exchange.HEAD, "/")
		if err := pool.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		if x.Response.Body != nil || x.Response.ContentLength != 5 {
			t.Errorf("%+v", x.Response)
		}
		x.ResetResponse()
	}
	if n := pool.Size(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

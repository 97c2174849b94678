package http2

import (
	"errors"
	"io"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

const short = 100 * time.Millisecond

func TestConnectionsThatSayNothing(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"an unfinished block": func(p *peer) {
			_ = p.framer.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.request("GET", "/x")})
		},
		"nothing": func(*peer) {},
	} {
		t.Run(name, func(t *testing.T) {
			o := ServerOptions{HeaderTimeout: short}
			if name == "nothing" {
				o = ServerOptions{IdleTimeout: short}
			}
			p := newRig(t, o).peer("plain")
			send(p)
			p.flush()
			if code := p.goAway(); code != h2.ErrCodeNo {
				t.Errorf("the connection ended with %v", code)
			}
		})
	}
	nc := newRig(t, ServerOptions{HeaderTimeout: short}).dial("plain")
	_ = nc.SetDeadline(time.Now().Add(testPatience))
	if _, err := io.ReadAll(nc); err != nil {
		t.Errorf("without a preface: %v", err)
	}
}

func TestBodyThatDoesNotArrive(t *testing.T) {
	for _, o := range []ServerOptions{{IdleTimeout: short}, {HeaderTimeout: short, MinBodyRate: 1000}} {
		r := newRig(t, o)
		p := r.peer("plain")
		p.headers(1, false, p.request("POST", "/read"))
		p.flush()
		var head *codec.HeadError
		if err := <-r.h.errs; !errors.As(err, &head) || head.Status != 408 {
			t.Errorf("%+v: the handler read %v", o, err)
		}
	}
}

// TestClientThatReadsNothing: neither a window that stays shut nor a connection that takes nothing holds a response for
// longer than it may.
func TestClientThatReadsNothing(t *testing.T) {
	for _, o := range []ServerOptions{{IdleTimeout: short}, {HeaderTimeout: short, MinBodyRate: 1 << 30}} {
		r := newRig(t, o)
		p := r.peer("plain")
		p.headers(1, true, p.request("GET", "/big"))
		p.flush()
		var failure *exchange.Failure
		if err := <-r.h.errs; !errors.As(err, &failure) || failure.Reason != exchange.ClientSlow {
			t.Errorf("%+v: Respond returned %v", o, err)
		}
		if o := p.await(1); o.reset != h2.ErrCodeCancel {
			t.Errorf("%+v", o.reset)
		}
	}
	r := newRig(t, ServerOptions{IdleTimeout: short})
	p := r.peer("plain", h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = p.framer.WriteWindowUpdate(0, 1<<30)
	for i := range uint32(50) { // more than the sockets hold
		p.headers(2*i+1, true, p.request("GET", "/big"))
	}
	p.flush()
	for range 50 {
		if err := <-r.h.errs; err == nil {
			continue // what the kernel took
		}
		return
	}
	t.Error("all of it was taken by nobody")
}

// TestFlowControl sends no more than the client allows.
func TestFlowControl(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain", h2.Setting{ID: h2.SettingInitialWindowSize, Val: 10})
	p.headers(1, true, p.request("GET", "/big"))
	p.flush()
	got := 0
	next := func() int {
		for {
			switch f := p.frame().(type) {
			case *h2.DataFrame:
				got += len(f.Data())
				return len(f.Data())
			case nil:
				t.Fatal("the connection ended")
			}
		}
	}
	if n := next(); n != 10 {
		t.Fatalf("%d bytes were sent in a window of 10", n)
	}
	_ = p.framer.WriteWindowUpdate(1, 5)
	p.flush()
	if n := next(); n != 5 {
		t.Fatalf("%d bytes were sent in a window of 5", n)
	}
	_ = p.framer.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 3}) // 7 less
	_ = p.framer.WriteWindowUpdate(1, 8)
	p.flush()
	if n := next(); n != 1 {
		t.Fatalf("%d bytes were sent in a window of 1", n)
	}
	_ = p.framer.WriteWindowUpdate(1, 1<<30)
	p.flush()
	for got < 65535 {
		next()
	}
	if got != 65535 {
		t.Fatalf("%d bytes were sent in the connection's window", got)
	}
	_ = p.framer.WriteWindowUpdate(0, 1<<30)
	p.flush()
	for got < bigSize {
		next()
	}
	if err := <-r.h.errs; err != nil {
		t.Error(err)
	}
}

func TestDrain(t *testing.T) {
	r := newRig(t, ServerOptions{})
	busy, quiet := r.peer("plain"), r.peer("plain")
	busy.headers(1, true, busy.request("GET", "/wait"))
	busy.flush()
	quiet.headers(1, true, quiet.request("GET", "/x"))
	quiet.flush()
	if o := quiet.await(1); o.status != "200" {
		t.Fatalf("%+v", o)
	}
	<-r.h.waiting
	r.srv.Drain(short)
	for _, p := range []*peer{busy, quiet} {
		f, ok := p.frame().(*h2.GoAwayFrame)
		if !ok || f.LastStreamID != maxStreamID || f.ErrCode != h2.ErrCodeNo {
			t.Fatalf("%v", f)
		}
	}
	quiet.headers(3, true, quiet.request("GET", "/x")) // it was on its way
	quiet.flush()
	if o := quiet.await(3); o.status != "200" {
		t.Fatalf("%+v", o)
	}
	for p, last := range map[*peer]uint32{busy: 1, quiet: 3} {
		f, ok := p.frame().(*h2.GoAwayFrame)
		if !ok || f.LastStreamID != last || f.ErrCode != h2.ErrCodeNo {
			t.Fatalf("%v", f)
		}
	}
	busy.headers(3, true, busy.request("GET", "/late"))
	busy.flush()
	close(r.h.release)
	if o := busy.await(1); o.status != "200" || o.torn {
		t.Errorf("%+v", o)
	}
	for _, p := range []*peer{busy, quiet} {
		if f := p.frame(); f != nil {
			t.Errorf("%v behind the last response", f)
		}
	}
	if n := r.h.served.Load(); n != 3 {
		t.Errorf("%d requests were served", n)
	}
}

func TestClose(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	r.peer("tls")
	p.headers(1, false, p.request("POST", "/read"))
	p.flush()
	for r.h.served.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := r.srv.Close(); n != 2 {
		t.Errorf("%d connections were closed", n)
	}
	if err := <-r.h.errs; err == nil {
		t.Error("the body came to a good end")
	}
	r.serving.Wait()
}

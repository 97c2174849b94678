package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSender(o *Output, id uint32) *Sender {
	s := &Sender{Wake: make(chan struct{}, 1)}
	o.Open(s, id)
	return s
}

func woken(s *Sender) bool {
	select {
	case <-s.Wake:
		return true
	default:
		return false
	}
}

func TestWindowsOfASender(t *testing.T) {
	var out bytes.Buffer
	o := NewOutput(&out)
	if err := o.setting(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}); err != nil {
		t.Fatal(err)
	}
	s := newSender(o, 1)
	if n, err := s.Data(make([]byte, 20), true); n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if woken(s) {
		t.Error("woken for nothing")
	}
	if ready, err := s.Ready(true); ready || err != nil {
		t.Errorf("%t, %v", ready, err)
	}
	if ready, err := s.Ready(false); !ready || err != nil {
		t.Errorf("fields need no window: %t, %v", ready, err)
	}
	if !s.Credit(5) || !woken(s) {
		t.Error("not woken by its window")
	}
	if err := o.setting(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}); err != nil { // 7 less
		t.Fatal(err)
	}
	if n, _ := s.Data(make([]byte, 10), true); n != 0 {
		t.Errorf("%d bytes in a window of -2", n)
	}
	if !s.Credit(12) {
		t.Error("overflow")
	}
	if n, _ := s.Data(make([]byte, 10), true); n != 10 {
		t.Errorf("%d bytes in a window of 10", n)
	}
	if s.Credit(1<<31 - 1); s.Credit(1) {
		t.Error("no overflow")
	}
	o.Flush()
	f := http2.NewFramer(nil, &out)
	for _, want := range []struct {
		n   int
		end bool
	}{{10, false}, {10, true}} {
		frame, err := f.ReadFrame()
		data, ok := frame.(*http2.DataFrame)
		if err != nil || !ok || len(data.Data()) != want.n || data.StreamEnded() != want.end {
			t.Fatalf("%v, %v", frame, err)
		}
	}
}

func TestWindowOfTheConnection(t *testing.T) {
	o := NewOutput(io.Discard)
	_ = o.setting(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	a, b := newSender(o, 1), newSender(o, 3)
	sent := 0
	for sent < initialWindow {
		n, err := a.Data(make([]byte, initialWindow+1-sent), false)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		o.Flush()
	}
	if sent != initialWindow {
		t.Errorf("%d bytes in the connection's window", sent)
	}
	if n, _ := b.Data([]byte("x"), false); n != 0 {
		t.Error("a byte more")
	}
	woken(a)
	woken(b)
	if !o.Credit(100) || !woken(b) {
		t.Error("not woken by the connection's window")
	}
	if n, _ := b.Data([]byte("x"), true); n != 1 {
		t.Error("not a byte more")
	}
	b.Close()
	b.Close()
	if n, err := b.Data([]byte("dropped"), true); n != 7 || err != nil {
		t.Errorf("%d, %v on a stream that is closed", n, err)
	}
	if o.Credit(1<<31 - 1) {
		t.Error("no overflow")
	}
	if o.Sent() != initialWindow+1 {
		t.Errorf("%d bytes were sent", o.Sent())
	}
}

// A gate is a connection that takes nothing until it is opened.
type gate struct {
	mu     sync.Mutex
	opened chan struct{}
	writes int
	err    error
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.opened
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes++
	return len(p), g.err
}

func TestFullConnection(t *testing.T) {
	g := &gate{opened: make(chan struct{})}
	o := NewOutput(g)
	_ = o.setting(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = o.Credit(1 << 30)
	s := newSender(o, 1)
	flushed := make(chan struct{})
	_, _ = s.Data([]byte("first"), false)
	go func() {
		defer close(flushed)
		o.Flush()
	}()
	for o.Stalled() == 0 { // until it writes
		select {
		case <-flushed:
			t.Fatal("written through a shut gate")
		default:
		}
	}
	sent := 0
	for {
		n, err := s.Data(make([]byte, 8<<10), false)
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n < 8<<10 {
			break
		}
	}
	if !o.Full() || sent > maxPending+FrameSize {
		t.Errorf("%d bytes wait", sent)
	}
	if ready, _ := s.Ready(false); ready {
		t.Error("fields are taken, too")
	}
	woken(s)
	close(g.opened)
	<-flushed
	if !woken(s) || o.Full() || o.Stalled() != 0 {
		t.Error("not woken when everything was written")
	}
	if g.writes != 2 {
		t.Errorf("%d writes", g.writes)
	}
	g.err = errors.New("broken")
	_, _ = s.Data([]byte("x"), false)
	o.Flush()
	if _, err := s.Data([]byte("x"), false); !errors.Is(err, g.err) || !errors.Is(o.Err(), g.err) {
		t.Errorf("%v", err)
	}
	o.BeginHeaders(s).Status(200)
	if _, err := o.EndHeaders(s, nil, true); !errors.Is(err, g.err) {
		t.Errorf("%v", err)
	}
	if s.Close(); o.BeginHeaders(s) != nil {
		t.Error("fields on a stream that is closed")
	}
}

// TestEncoder reads back what was encoded, and looks at what it left in hpack's table.
func TestEncoder(t *testing.T) {
	var out bytes.Buffer
	o := NewOutput(&out)
	f := http2.NewFramer(nil, &out)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var h exchange.Header
	h.Add("Content-Type", "text/plain")
	h.Add("X-Mixed-Case", strings.Repeat("long ", 10000))
	h.Add("Connection", "close")
	h.Add("Content-Length", "5")
	h.Add("Set-Cookie", "secret=1")
	sizes := []int{}
	for round := range 4 {
		s := newSender(o, uint32(2*round+1))
		e := o.BeginHeaders(s)
		e.Status(200)
		e.Fields(&h, NotSent)
		e.Length(5)
		if _, err := o.EndHeaders(s, nil, true); err != nil {
			t.Fatal(err)
		}
		o.Flush()
		before := out.Len()
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, before-out.Len())
		var got []string
		for _, field := range frame.(*http2.MetaHeadersFrame).Fields {
			got = append(got, field.Name+"="+field.Value[:min(len(field.Value), 12)])
			if field.Name == "set-cookie" && !field.Sensitive {
				t.Error("a cookie may be indexed")
			}
		}
		if text := strings.Join(got, " "); text != ":status=200 content-type=text/plain x-mixed-case=long long lo set-cookie=secret=1 content-length=5" {
			t.Fatal(text)
		}
	}
	if sizes[3] >= sizes[0] {
		t.Errorf("what comes again is not indexed: %v", sizes)
	}
}

func TestWindow(t *testing.T) {
	var w Window
	w.Reset(100)
	if !w.Take(60) || w.Take(41) || !w.Take(40) {
		t.Error("100 are not 100")
	}
	if n := w.Give(49); n != 0 {
		t.Errorf("%d are announced for 49", n)
	}
	if n := w.Give(1); n != 50 || !w.Take(50) || w.Take(1) {
		t.Errorf("%d are announced for 50", n)
	}
}

func TestAllowance(t *testing.T) {
	a := Allowance{Most: 10, PerSecond: 2}
	const second = exchange.Nanos(1e9)
	a.Reset(second)
	for range 10 {
		if !a.Take() {
			t.Fatal("10 are not 10")
		}
	}
	if a.Take() || a.Refill(second, 0) {
		t.Error("an 11th")
	}
	if !a.Refill(2*second, 0) || !a.Take() || a.Take() { // 2 came back, of which one was taken already
		t.Error("2 a second are not 2 a second")
	}
	if a.Refill(2*second, 0) || !a.Refill(2*second, 1) {
		t.Error("nothing for what was earned")
	}
	if a.Refill(1000*second, 1); !a.Take() {
		t.Error("nothing came back")
	}
	n := 1
	for a.Take() {
		n++
	}
	if n != 10 {
		t.Errorf("%d at once", n)
	}
}

func TestRecent(t *testing.T) {
	var r Recent
	for id := uint32(1); id < 1000; id += 2 {
		if r.Has(id) {
			t.Fatal(id)
		}
		r.Note(id)
		if !r.Has(id) || id > 20 && !r.Has(id-20) || id > 200 && r.Has(id-200) {
			t.Fatal(id)
		}
	}
}

// Who waits for a window sends behind the answer to the settings that have widened it.
func TestSettingsAreAnsweredFirst(t *testing.T) {
	var frame bytes.Buffer
	_ = http2.NewFramer(&frame, nil).WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	for range 2000 {
		read, err := http2.NewFramer(nil, bytes.NewReader(frame.Bytes())).ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		o := NewOutput(&out)
		if err := o.setting(http2.Setting{ID: http2.SettingInitialWindowSize}); err != nil {
			t.Fatal(err)
		}
		s := newSender(o, 1)
		sent := make(chan int)
		go func() {
			<-s.Wake
			n, _ := s.Data([]byte("a"), true)
			sent <- n
		}()
		if err := o.Adopt(read.(*http2.SettingsFrame)); err != nil {
			t.Fatal(err)
		}
		if n := <-sent; n != 1 {
			t.Fatalf("%d bytes were sent", n)
		}
		o.Flush()
		framer := http2.NewFramer(nil, &out)
		for i, want := range []http2.FrameType{http2.FrameSettings, http2.FrameData} {
			f, err := framer.ReadFrame()
			if err != nil || f.Header().Type != want {
				t.Fatalf("frame %d is %v, %v; want %v", i, f, err, want)
			}
		}
	}
}

package inbox

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// owner is a stream without a connection. It is told of waiting through flushed.
type owner struct {
	sync.Mutex
	freed   int
	armed   exchange.Nanos
	gone    bool
	flushed chan struct{}
}

func (o *owner) Freed(n int)             { o.freed += n }
func (o *owner) Arm(at exchange.Nanos)   { o.armed = at }
func (o *owner) Flush()                  { o.flushed <- struct{}{} }
func (o *owner) Patience() wire.Patience { return wire.Patience{Idle: time.Hour} }
func (o *owner) Gone() bool              { return o.gone }

func newInbox() (*owner, *exchange.Exchange, *Inbox) {
	o, x := &owner{flushed: make(chan struct{}, 1)}, &exchange.Exchange{}
	return o, x, New(o, x)
}

func TestBody(t *testing.T) {
	o, x, b := newInbox()
	want := bytes.Repeat([]byte("0123456789"), 2000)
	for round := range 3 { // an Inbox serves one stream after the other
		b.Open(int64(len(want)), false)
		for at := 0; at < len(want); at += 500 {
			if !b.Take(want[at:at+500], at+500 == len(want)) {
				t.Fatal("refused")
			}
		}
		if b.Size() != len(want) || !b.Over() || !b.Whole() || b.Ended() {
			t.Fatalf("%d bytes", b.Size())
		}
		var got []byte
		switch round {
		case 0:
			for at := b.Buffered(); len(at) > 0; at = b.Buffered() {
				n := min(len(at), 33)
				got = append(got, at[:n]...)
				b.Skip(n)
			}
		case 1:
			got, _ = io.ReadAll(iotest.OneByteReader(b))
		case 2:
			if err := iotest.TestReader(b, want); err != nil {
				t.Error(err)
			}
			got = want
		}
		if !bytes.Equal(got, want) || !b.Ended() || o.freed != len(want) || x.Record.BytesIn != int64(len(want)) {
			t.Errorf("round %d: %d bytes, %d given back, %d counted", round, len(got), o.freed, x.Record.BytesIn)
		}
		o.freed, x.Record.BytesIn = 0, 0
		b.Clear()
	}
}

func TestLength(t *testing.T) {
	for _, test := range []struct {
		length int64
		pieces []int
		ok     bool
	}{{3, []int{2, 1}, true}, {3, []int{2}, false}, {3, []int{2, 2}, false}, {0, []int{0}, true}, {0, []int{1}, false}, {-1, []int{5, 0}, true}} {
		_, _, b := newInbox()
		b.Open(test.length, false)
		ok := true
		for i, n := range test.pieces {
			ok = ok && b.Take(make([]byte, n), i == len(test.pieces)-1)
		}
		_, err := io.ReadAll(b)
		if ok != test.ok || ok != (err == nil) || err != nil && !errors.Is(err, wire.ErrBodyLength) {
			t.Errorf("%+v: %t, %v", test, ok, err)
		}
	}
}

// TestWaiting: whatever happens to a stream is seen by who waits for its body.
func TestWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(o *owner, b *Inbox)
		err     error
	}{
		"data":     {func(_ *owner, b *Inbox) { b.Take([]byte("x"), false) }, nil},
		"the end":  {func(_ *owner, b *Inbox) { b.Take(nil, true) }, io.EOF},
		"a reset":  {func(o *owner, b *Inbox) { o.gone = true; b.Wake() }, ErrGone},
		"a fault":  {func(_ *owner, b *Inbox) { b.Fail(wire.ErrBodyLength); b.Wake() }, wire.ErrBodyLength},
		"its time": {func(_ *owner, b *Inbox) { b.Expire() }, wire.ErrBodyTimeout},
		"nobody who wants it": {func(o *owner, b *Inbox) {
			o.Unlock()
			b.Cancel()
			o.Lock()
		}, sock.ErrCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, b := newInbox()
			b.Open(-1, false)
			done := make(chan error, 1)
			go func() {
				_, err := b.Read(make([]byte, 1))
				done <- err
			}()
			<-o.flushed
			o.Lock()
			if o.armed == 0 || b.Due() != o.armed {
				t.Errorf("due %v, asked for %v", b.Due(), o.armed)
			}
			test.happens(o, b)
			o.Unlock()
			if err := <-done; !errors.Is(err, test.err) {
				t.Error(err)
			}
		})
	}
}

func TestCanceledAndRenewed(t *testing.T) {
	_, _, b := newInbox()
	b.Open(1, false)
	b.Take([]byte("x"), true)
	b.Cancel()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, sock.ErrCanceled) {
		t.Error(err)
	}
	b.Renew()
	if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Error(n, err)
	}
}

package inbox

import (
	"errors"
	"io"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// ErrGone says that nobody is there any more who could send the rest.
var ErrGone = errors.New("the client went away before the end of the body")

// late stands for a deadline that has passed.
const late exchange.Nanos = -1

// An Owner is the stream that an Inbox is of. Its lock guards the Inbox.
type Owner interface {
	sync.Locker
	// Freed is told of bytes that were read: others may come in their place. It is called locked.
	Freed(n int)
	// Arm asks for Due to be called at that time. It is called locked.
	Arm(at exchange.Nanos)
	// Flush has frames leave that were appended.
	Flush()
	// Patience is that with the peer.
	Patience() wire.Patience
	// Gone reports whether the stream was reset.
	Gone() bool
}

// An Inbox is the body of a request. It implements exchange.Body and sock.Cancelable: one goroutine reads it at a time,
// while that of the connection fills it.
type Inbox struct {
	owner    Owner
	x        *exchange.Exchange
	arrived  chan struct{} // gets a token when something has changed
	held     pieces
	left     int64 // bytes that are still to arrive; -1: any number
	over     bool  // the peer has ended its side
	canceled bool
	err      error // why no more comes
	by       exchange.Nanos
	waiting  wire.Patience
	trailer  exchange.Header
}

// New returns an Inbox of that owner, for the request of x.
func New(owner Owner, x *exchange.Exchange) *Inbox {
	return &Inbox{owner: owner, x: x, arrived: make(chan struct{}, 1)}
}

// Clear makes b ready for another stream.
func (b *Inbox) Clear() {
	b.held.clear()
	b.trailer.Reset(nil)
	select {
	case <-b.arrived:
	default:
	}
	*b = Inbox{owner: b.owner, x: b.x, arrived: b.arrived, held: b.held, trailer: b.trailer}
}

// What follows is called with the owner locked, but where it says otherwise.

// Open says how many bytes will come; -1 is any number. over says that none do.
func (b *Inbox) Open(length int64, over bool) { b.left, b.over = length, over }

// Over reports whether the peer has ended its side.
func (b *Inbox) Over() bool { return b.over }

// Size is how many bytes were not read.
func (b *Inbox) Size() int { return b.held.size }

// Whole reports whether all of the body is there, and no trailer behind it.
func (b *Inbox) Whole() bool { return b.over && b.trailer.Len() == 0 }

// Take takes what has arrived; over says that it was the last. It returns false, and fails, where that is not as long as
// it should be.
func (b *Inbox) Take(p []byte, over bool) bool {
	if b.left >= 0 {
		b.left -= int64(len(p))
		if b.left < 0 || over && b.left > 0 {
			b.Fail(wire.ErrBodyLength)
			return false
		}
	}
	b.held.append(p)
	b.over = over
	b.Wake()
	return true
}

// End takes the trailer, which ends the body. It returns false, and fails, where something is wrong with it.
func (b *Inbox) End(trailer *wire.Fields) bool {
	if fault := trailer.Fault(); fault != nil {
		b.Fail(fault)
		return false
	}
	if !b.Take(nil, true) {
		return false
	}
	trailer.Trailer(&b.trailer)
	return true
}

// Fail makes reading fail.
func (b *Inbox) Fail(err error) { b.err = err }

// Wake wakes who reads. It may be called unlocked.
func (b *Inbox) Wake() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// Due returns when what is read must have arrived; 0 is never.
func (b *Inbox) Due() exchange.Nanos { return max(b.by, 0) }

// Expire says that this was not in time.
func (b *Inbox) Expire() {
	b.by = late
	b.Wake()
}

// What follows is called with the owner unlocked.

// Buffered implements exchange.Body.
func (b *Inbox) Buffered() []byte {
	b.owner.Lock()
	defer b.owner.Unlock()
	if b.err != nil {
		return nil
	}
	return b.held.first()
}

// Skip implements exchange.Body.
func (b *Inbox) Skip(n int) {
	b.owner.Lock()
	b.held.skip(n)
	b.owner.Freed(n)
	b.owner.Unlock()
	b.x.Record.BytesIn += int64(n)
}

// Ended implements exchange.Body.
func (b *Inbox) Ended() bool {
	b.owner.Lock()
	defer b.owner.Unlock()
	return b.ended()
}

// ended is Ended with the owner locked. The trailer is the request's from then on.
func (b *Inbox) ended() bool {
	if b.held.size > 0 || b.err != nil || !b.over {
		return false
	}
	if b.trailer.Len() > 0 {
		b.x.Request.Trailer, b.trailer = b.trailer, b.x.Request.Trailer
		b.trailer.Reset(nil)
	}
	return true
}

// Read implements exchange.Body.
func (b *Inbox) Read(p []byte) (int, error) {
	n, err := b.ReadBy(p, 0)
	b.x.Record.BytesIn += int64(n)
	return n, err
}

// ReadBy reads like Read, and waits until that time; 0 is for as long as the peer may take. It counts nothing.
func (b *Inbox) ReadBy(p []byte, by exchange.Nanos) (int, error) {
	b.owner.Lock()
	defer b.owner.Unlock()
	for {
		switch {
		case b.err != nil:
			return 0, b.err
		case b.canceled:
			return 0, sock.ErrCanceled
		case b.owner.Gone():
			return 0, ErrGone
		case b.held.size > 0:
			n := 0
			for n < len(p) && b.held.size > 0 {
				k := copy(p[n:], b.held.first())
				b.held.skip(k)
				n += k
			}
			b.owner.Freed(n)
			return n, nil
		case b.ended():
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		case b.await(by) && b.held.size == 0 && !b.over:
			if by == 0 {
				b.err = wire.ErrBodyTimeout
			}
			return 0, wire.ErrBodyTimeout
		}
	}
}

// await waits until something has changed, and reports whether that was too late. The owner is locked, but not meanwhile.
func (b *Inbox) await(by exchange.Nanos) bool {
	if by == 0 {
		if b.waiting.Idle == 0 {
			b.waiting = b.owner.Patience()
		}
		by = b.waiting.Start(exchange.Now(), b.x.Record.BytesIn)
	}
	b.by = by
	b.owner.Arm(by)
	b.owner.Unlock()
	b.owner.Flush() // the peer may wait for what was given back to it
	<-b.arrived
	b.owner.Lock()
	b.waiting.Stop(exchange.Now())
	expired := b.by == late
	b.by = 0
	return expired
}

// Cancel implements sock.Cancelable: it makes a Read that waits return.
func (b *Inbox) Cancel() { b.cancel(true) }

// Renew implements sock.Cancelable: an earlier attempt gave up before it had read anything.
func (b *Inbox) Renew() { b.cancel(false) }

func (b *Inbox) cancel(canceled bool) {
	b.owner.Lock()
	b.canceled = canceled
	b.Wake()
	b.owner.Unlock()
}

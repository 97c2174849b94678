package listener

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"sync"
)

const (
	// maxRunning is how many handshakes run at once, of all listeners together. More would only take the processor from each
	// other, and memory with it; they wait for their turn. One that waits for its client does not count: who begins many
	// handshakes, and ends none, would else keep everybody out.
	maxRunning = 1024
	// maxPending bounds those that have begun, whatever they wait for. Each costs some 20 KiB.
	maxPending = 4096
)

// ErrHandshakes says that more handshakes had begun than there may be.
var ErrHandshakes = errors.New("too many TLS handshakes have begun and are not over")

// Handshakes are those that have begun and are not over, of all listeners of a process. Where there are too many, the one
// that began first of those that wait for their client is cut off: an honest client keeps nobody waiting for long, and one
// that opens connections and is silent makes room for others by opening more.
type Handshakes struct {
	turns chan struct{}

	mu      sync.Mutex
	limit   int
	pending list.List // of *turn, in the order in which they began
}

// NewHandshakes returns the Handshakes of a process, of which so many may run at once; 0: 1,024.
func NewHandshakes(running int) *Handshakes {
	return &Handshakes{turns: make(chan struct{}, cmp.Or(running, maxRunning)), limit: maxPending}
}

// SetConnections says how many connections there may be; 0 is no limit. Handshakes take no more than half of them, so that
// whoever begins them and ends none leaves places.
func (h *Handshakes) SetConnections(most int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = maxPending
	if most > 0 {
		h.limit = max(min(h.limit, most/2), 1)
	}
}

// A turn is one handshake's place among those that have begun, and among those that run.
type turn struct {
	of   *Handshakes
	ctx  context.Context // of the handshake
	cut  context.CancelCauseFunc
	held bool

	place   *list.Element
	waiting bool // for its client; guarded by of.mu
}

// begin takes a place for a handshake, or returns nil where there is none. It waits for its client at first. ctx ends when it
// is cut off, with ErrHandshakes as its cause.
func (h *Handshakes) begin(parent context.Context) *turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending.Len() >= h.limit && !h.cutFirst() {
		return nil
	}
	t := &turn{of: h, waiting: true}
	t.ctx, t.cut = context.WithCancelCause(parent)
	t.place = h.pending.PushBack(t)
	return t
}

// cutFirst cuts off the first handshake that waits for its client. The caller holds h.mu.
func (h *Handshakes) cutFirst() bool {
	for e := h.pending.Front(); e != nil; e = e.Next() {
		if t, ok := e.Value.(*turn); ok && t.waiting {
			h.pending.Remove(e)
			t.place = nil
			t.cut(ErrHandshakes)
			return true
		}
	}
	return false
}

// end gives the place back.
func (t *turn) end() {
	t.of.mu.Lock()
	if t.place != nil {
		t.of.pending.Remove(t.place)
		t.place = nil
	}
	t.of.mu.Unlock()
	t.cut(nil)
}

// take waits until the handshake may run.
func (t *turn) take() error {
	t.await(false)
	select {
	case t.of.turns <- struct{}{}:
		t.held = true
		return nil
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

// leave lets another one run while this one waits for its client. It may be left already.
func (t *turn) leave() {
	t.stop()
	t.await(true)
}

// stop says that the handshake does not run any more.
func (t *turn) stop() {
	if t.held {
		t.held = false
		<-t.of.turns
	}
}

func (t *turn) await(client bool) {
	t.of.mu.Lock()
	t.waiting = client
	t.of.mu.Unlock()
}

package wire

import (
	"errors"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// FrameSize is the largest frame that is sent, and that is taken: the protocol's default. Larger ones would let one
	// stream hold up the others.
	FrameSize = 16 << 10
	// initialWindow is what every window has before anything else was said.
	initialWindow = 65535
	// maxPending is how much may wait to be written before no more data is taken.
	maxPending = 64 << 10
	// pendingSize is what an Output's buffer usually holds.
	pendingSize = 16 << 10
)

// ErrClosed says that nothing can be sent on the connection any more.
var ErrClosed = errors.New("the connection is closed")

// pendings are the buffers of Outputs that have something to write. An idle connection has none.
var pendings = sync.Pool{New: func() any {
	b := make([]byte, 0, pendingSize)
	return &b
}}

// An Output sends what all streams of a connection have to say. Frames are appended to a buffer, from any goroutine, and
// leave with the next Flush. Whoever flushes while nobody else does lets all those who are ready to run add their frames
// first, and then writes for all of them: answers that become ready together cost one system call.
//
// It also keeps what is sent within the peer's windows; see Sender.
type Output struct {
	w     io.Writer
	since atomic.Int64 // exchange.Nanos at which the Write that runs began; 0 between writes

	mu       sync.Mutex
	pending  *[]byte // frames that wait to be written; nil where there are none
	flushing bool
	err      error
	framer   *http2.Framer // writes to pending
	encoder  *Encoder
	window   int64 // the connection's
	initial  int64 // the streams', as the peer wants it
	senders  []*Sender
	waiting  []*Sender
	sent     int64 // bytes of DATA
}

// NewOutput returns an Output that writes to w.
func NewOutput(w io.Writer) *Output {
	o := &Output{w: w, window: initialWindow, initial: initialWindow, encoder: newEncoder()}
	o.framer = http2.NewFramer((*pendingWriter)(o), nil)
	return o
}

// pendingWriter appends what the Framer writes. The Output is locked.
type pendingWriter Output

func (w *pendingWriter) Write(p []byte) (int, error) {
	b := (*Output)(w).buffer()
	*b = append(*b, p...)
	return len(p), nil
}

// buffer is where frames are appended to. The Output is locked.
func (o *Output) buffer() *[]byte {
	if o.pending == nil {
		o.pending = pendings.Get().(*[]byte)
	}
	return o.pending
}

// lock locks the Output, and reports whether frames can still be sent.
func (o *Output) lock() bool {
	o.mu.Lock()
	return o.err == nil
}

// Raw appends bytes as they are, such as the preface of a client.
func (o *Output) Raw(p []byte) {
	if o.lock() {
		b := o.buffer()
		*b = append(*b, p...)
	}
	o.mu.Unlock()
}

// The errors of the Framer are of frames that nobody here asks for.

// Settings appends our settings.
func (o *Output) Settings(s ...http2.Setting) {
	if o.lock() {
		_ = o.framer.WriteSettings(s...)
	}
	o.mu.Unlock()
}

// Ping appends a PING.
func (o *Output) Ping(ack bool, data [8]byte) {
	if o.lock() {
		_ = o.framer.WritePing(ack, data)
	}
	o.mu.Unlock()
}

// GoAway appends a GOAWAY.
func (o *Output) GoAway(last uint32, code http2.ErrCode, detail string) {
	if o.lock() {
		_ = o.framer.WriteGoAway(last, code, []byte(detail))
	}
	o.mu.Unlock()
}

// Reset appends a RST_STREAM.
func (o *Output) Reset(id uint32, code http2.ErrCode) {
	if o.lock() {
		_ = o.framer.WriteRSTStream(id, code)
	}
	o.mu.Unlock()
}

// WindowUpdate appends a WINDOW_UPDATE; id 0 is the connection.
func (o *Output) WindowUpdate(id, n uint32) {
	if o.lock() {
		_ = o.framer.WriteWindowUpdate(id, n)
	}
	o.mu.Unlock()
}

// BeginHeaders locks the Output and returns its Encoder for one header block of a stream, which EndHeaders ends. In between
// nothing may wait, and the block cannot be given up: the peer must see what hpack remembers. On a stream that was closed it
// returns nil, and locks nothing.
func (o *Output) BeginHeaders(s *Sender) *Encoder {
	o.mu.Lock()
	if !s.open {
		o.mu.Unlock()
		return nil
	}
	o.encoder.block = o.encoder.block[:0]
	return o.encoder
}

// EndHeaders appends the header block, as a HEADERS frame and, where it is large, CONTINUATION frames, and with it as much
// of data as may be sent at once, so that both leave together. It returns how much of data that was; end ends the stream
// behind all of it. Then it unlocks the Output.
func (o *Output) EndHeaders(s *Sender, data []byte, end bool) (int, error) {
	defer o.mu.Unlock()
	if err := o.endHeaders(s.id, end && len(data) == 0); err != nil || len(data) == 0 {
		return 0, err
	}
	return s.data(data, end), nil
}

func (o *Output) endHeaders(id uint32, end bool) error {
	if o.err != nil {
		return o.err
	}
	block := o.encoder.block
	first := block[:min(len(block), FrameSize)]
	rest := block[len(first):]
	_ = o.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0})
	for len(rest) > 0 {
		part := rest[:min(len(rest), FrameSize)]
		rest = rest[len(part):]
		_ = o.framer.WriteContinuation(id, len(rest) == 0, part)
	}
	if cap(block) > FrameSize {
		o.encoder.block = nil
	}
	return nil
}

// Adopt takes the peer's settings, and appends the answer to them before anything that goes by them: the peer may hold to its
// old ones what comes before (RFC 9113 §6.5.3). An error ends the connection.
func (o *Output) Adopt(f *http2.SettingsFrame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := f.ForeachSetting(o.setting); err != nil {
		return err
	}
	if o.err == nil {
		_ = o.framer.WriteSettingsAck()
	}
	return nil
}

// setting takes one of them. The Output is locked.
func (o *Output) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		o.encoder.hpack.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingInitialWindowSize:
		delta := int64(s.Val) - o.initial
		o.initial = int64(s.Val)
		for _, sender := range o.senders {
			if sender.window += delta; sender.window > math.MaxInt32 {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			sender.Signal()
		}
	}
	return nil
}

// Credit takes a WINDOW_UPDATE of the connection. It returns false where the window overflows.
func (o *Output) Credit(n uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.window += int64(n); o.window > math.MaxInt32 {
		return false
	}
	o.signal()
	return true
}

// Sent is how many bytes of DATA were sent.
func (o *Output) Sent() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent
}

// Full reports whether so much waits to be written that who is not asked for an answer should not make more.
func (o *Output) Full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.full()
}

func (o *Output) full() bool { return o.pending != nil && len(*o.pending) >= maxPending }

// Stalled returns since when the Write that runs has been running; 0 where none runs.
func (o *Output) Stalled() exchange.Nanos { return exchange.Nanos(o.since.Load()) }

// maxWrites is how often one Flush writes. Others may append as fast as it writes, and it has work of its own to go on with.
const maxWrites = 8

// Flush writes everything that was appended, unless somebody else is about to. It does not return before what was
// appended is written, or is in the hands of who writes.
func (o *Output) Flush() {
	o.mu.Lock()
	if o.flushing || o.pending == nil || o.err != nil {
		o.mu.Unlock()
		return
	}
	o.flushing = true
	if len(o.senders) > 1 {
		o.mu.Unlock()
		runtime.Gosched() // who is ready to run has something to say, too
		o.mu.Lock()
	}
	if o.write(maxWrites) {
		go o.goOn()
	}
	o.mu.Unlock()
}

// goOn writes in the place of a Flush that has written long enough.
func (o *Output) goOn() {
	o.mu.Lock()
	o.write(math.MaxInt)
	o.mu.Unlock()
}

// write writes what is pending, so many times at most. It reports whether more is. The Output is locked, but not meanwhile.
func (o *Output) write(times int) (more bool) {
	for ; o.pending != nil && o.err == nil; times-- {
		if times == 0 {
			return true
		}
		out := o.pending
		o.pending = nil
		o.since.Store(int64(exchange.Now()))
		o.mu.Unlock()
		_, err := o.w.Write(*out)
		o.mu.Lock()
		o.since.Store(0)
		if cap(*out) <= 4*maxPending {
			*out = (*out)[:0]
			pendings.Put(out)
		}
		if err != nil && o.err == nil {
			o.fail(err)
		}
		o.signal()
	}
	o.flushing = false
	return false
}

// Close makes everything that would be sent fail, and wakes who waits.
func (o *Output) Close(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.fail(err)
	}
	o.mu.Unlock()
}

func (o *Output) fail(err error) {
	o.err = err
	o.pending = nil
	for _, s := range o.senders {
		s.Signal()
	}
}

// Err returns why nothing can be sent any more, or nil.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// signal wakes all who wait for the connection.
func (o *Output) signal() {
	for i, s := range o.waiting {
		s.waiting = false
		s.Signal()
		o.waiting[i] = nil
	}
	o.waiting = o.waiting[:0]
}

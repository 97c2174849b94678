package wire

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/http2"
)

// A Sender is what one stream sends, with the window that its peer gives it. Its owner waits on Wake where a window or the
// connection is full, for as long as it likes, and tries again. The zero Sender is ready for Output.Open.
type Sender struct {
	// Wake gets a token when it is worth trying again; perhaps also when it is not. The owner makes it, with room for one.
	Wake chan struct{}

	out     *Output
	id      uint32
	window  int64
	at      int // in Output.senders
	open    bool
	waiting bool
}

// Open begins to send on a stream.
func (o *Output) Open(s *Sender, id uint32) {
	o.mu.Lock()
	s.out, s.id, s.window, s.open, s.waiting = o, id, o.initial, true, false
	s.at = len(o.senders)
	o.senders = append(o.senders, s)
	o.mu.Unlock()
}

// Close ends sending: what is sent later is dropped. It may be called more than once.
func (s *Sender) Close() {
	o := s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.open {
		return
	}
	s.open = false
	last := len(o.senders) - 1
	moved := o.senders[last]
	o.senders[s.at], moved.at = moved, s.at
	o.senders[last] = nil
	o.senders = o.senders[:last]
	if s.waiting {
		for i, w := range o.waiting {
			if w == s {
				o.waiting = append(o.waiting[:i], o.waiting[i+1:]...)
				break
			}
		}
		s.waiting = false
	}
	s.Signal()
}

// ID is the stream's.
func (s *Sender) ID() uint32 { return s.id }

// Credit takes a WINDOW_UPDATE of the stream. It returns false where the window overflows.
func (s *Sender) Credit(n uint32) bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.window += int64(n); s.window > math.MaxInt32 {
		return false
	}
	s.Signal()
	return true
}

// Data appends as much of p as may be sent now, and returns how much that was; end ends the stream behind all of it. Where
// it is not all, Wake tells when to go on. An error is of the connection; on a stream that was closed everything is
// taken and dropped.
func (s *Sender) Data(p []byte, end bool) (int, error) {
	o := s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	return s.data(p, end), nil
}

// Ready reports whether something could be sent now: there is a window, and the connection takes what it is given. Where
// it returns false Wake tells when to ask again. data says that a window is needed.
func (s *Sender) Ready(data bool) (bool, error) {
	o := s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return false, o.err
	case !s.open:
		return true, nil
	case o.full() || data && o.window <= 0:
		s.wait()
		return false, nil
	}
	return !data || s.window > 0, nil
}

// wait has the connection wake s.
func (s *Sender) wait() {
	if !s.waiting {
		s.waiting = true
		s.out.waiting = append(s.out.waiting, s)
	}
}

func (s *Sender) data(p []byte, end bool) int {
	o := s.out
	if !s.open {
		return len(p)
	}
	sent := 0
	for {
		n := len(p) - sent
		if o.full() && (n > 0 || !end) {
			s.wait()
			return sent
		}
		n = min(n, FrameSize, int(max(s.window, 0)), int(max(o.window, 0)))
		if n == 0 && sent < len(p) {
			if s.window > 0 {
				s.wait()
			}
			return sent
		}
		last := sent+n == len(p)
		if n == 0 && !end {
			return sent
		}
		o.dataFrame(s.id, p[sent:sent+n], last && end)
		s.window -= int64(n)
		o.window -= int64(n)
		o.sent += int64(n)
		if sent += n; last {
			return sent
		}
	}
}

// dataFrame appends one DATA frame. The Framer would copy the data once more.
func (o *Output) dataFrame(id uint32, p []byte, end bool) {
	b := o.buffer()
	flags := byte(0)
	if end {
		flags = byte(http2.FlagDataEndStream)
	}
	n := len(p)
	*b = append(*b, byte(n>>16), byte(n>>8), byte(n), byte(http2.FrameData), flags)
	*b = binary.BigEndian.AppendUint32(*b, id)
	*b = append(*b, p...)
}

// Signal puts a token into Wake.
func (s *Sender) Signal() {
	select {
	case s.Wake <- struct{}{}:
	default:
	}
}

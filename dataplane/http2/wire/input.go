package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/http2"

	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// frameHeader is how long the header of a frame is.
const frameHeader = 9

// inputBuffer holds what is read in one go, and any frame whole.
type inputBuffer [18 << 10]byte

var inputs = sync.Pool{New: func() any { return new(inputBuffer) }}

// An Input reads the frames of a connection, one goroutine's. Frames are read where they lie in a buffer, which is held
// only while there is something in it: an idle connection has none.
type Input struct {
	nc         net.Conn
	raw        syscall.RawConn // nil where the connection is neither TCP nor TLS over it
	carrier    *sock.Carrier
	step       func(fd uintptr) bool
	buf        *inputBuffer
	start, end int
	n          int // of the last step
	err        error
	framer     *http2.Framer
	large      bool // the Framer's own buffer has become large
	block      bool // a header block has begun and not ended: the Framer must not be replaced
}

// NewInput returns an Input of nc, which may be TCP, TLS over a sock.Carrier, or anything else. already was read from it.
func NewInput(nc net.Conn, already []byte) *Input {
	in := &Input{nc: nc}
	switch c := nc.(type) {
	case *net.TCPConn:
		in.raw, _ = c.SyscallConn() // its error is of a nil connection
	case interface{ NetConn() net.Conn }:
		if carrier, ok := c.NetConn().(*sock.Carrier); ok {
			in.carrier = carrier
			in.raw, _ = carrier.SyscallConn()
		}
	}
	in.step = in.receive
	in.newFramer()
	if len(already) > 0 {
		in.buf = inputs.Get().(*inputBuffer)
		in.end = copy(in.buf[:], already)
	}
	return in
}

func (in *Input) newFramer() {
	in.framer = http2.NewFramer(nil, (*inputReader)(in))
	in.framer.SetMaxReadFrameSize(FrameSize)
	in.framer.SetReuseFrames()
	in.large = false
}

// Close gives the buffer back. Nothing is read any more.
func (in *Input) Close() {
	if in.buf != nil {
		inputs.Put(in.buf)
		in.buf = nil
	}
	in.start, in.end = 0, 0
}

// Unread reports whether something has arrived that was not read, or the end.
func (in *Input) Unread() bool {
	unread := false
	if in.raw != nil {
		_ = in.raw.Control(func(fd uintptr) { unread = sock.Stale(fd) })
	}
	return unread
}

// inputReader is what the Framer reads from: what lies in the buffer.
type inputReader Input

func (r *inputReader) Read(p []byte) (int, error) {
	if r.start == r.end {
		return 0, io.EOF
	}
	n := copy(p, r.buf[r.start:r.end])
	r.start += n
	return n, nil
}

// Fill waits until there is more to read, and reads it. io.EOF is an end that the peer announced.
func (in *Input) Fill() error {
	if in.buf != nil {
		in.end = copy(in.buf[:], in.buf[in.start:in.end])
		in.start = 0
	}
	if in.raw == nil {
		in.take()
		n, err := in.nc.Read(in.buf[in.end:])
		in.end += n
		if n > 0 {
			return nil
		}
		return err
	}
	in.n, in.err = 0, nil
	if err := in.raw.Read(in.step); err != nil {
		return err
	}
	if in.err == nil && in.n == 0 {
		return io.EOF
	}
	in.end += in.n
	return in.err
}

func (in *Input) take() {
	if in.buf == nil {
		in.buf = inputs.Get().(*inputBuffer)
	}
}

// receive is the callback of RawConn.Read: it returns false to wait.
func (in *Input) receive(fd uintptr) bool {
	in.take()
	for {
		if in.carrier != nil {
			in.n, in.err = in.carrier.Receive(int(fd), in.nc, in.buf[in.end:])
		} else {
			in.n, in.err = sock.Recv(int(fd), in.buf[in.end:])
		}
		switch {
		case errors.Is(in.err, syscall.EINTR):
			continue
		case errors.Is(in.err, syscall.EAGAIN):
			if in.end == 0 { // a connection that waits holds no memory
				in.Close()
				if in.large && !in.block {
					in.newFramer()
				}
			}
			return false
		}
		return true
	}
}

// Preface takes a client's connection preface off, if it is there. It returns false while it is not there whole; ok is false
// where something else is.
func (in *Input) Preface() (whole, ok bool) {
	if in.buf == nil {
		return false, true
	}
	at := in.buf[in.start:in.end]
	n := min(len(at), len(http2.ClientPreface))
	if string(at[:n]) != http2.ClientPreface[:n] {
		return true, false
	}
	if n < len(http2.ClientPreface) {
		return false, true
	}
	in.start += n
	return true, true
}

// Next returns the header of the next frame, once all of it is there; ok is false before. Then either Frame or Payload is
// to be called. An error ends the connection.
func (in *Input) Next() (h http2.FrameHeader, ok bool, err error) {
	if in.end-in.start < frameHeader {
		return h, false, nil
	}
	at := in.buf[in.start:in.end]
	size := int(at[0])<<16 | int(at[1])<<8 | int(at[2])
	if size <= FrameSize && len(at) < frameHeader+size {
		return h, false, nil
	}
	h, err = in.framer.ReadFrameHeader()
	if errors.Is(err, http2.ErrFrameTooLarge) {
		err = http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	return h, err == nil, err
}

// Frame parses the frame whose header Next returned. It is valid until the next one. An error is an http2.StreamError or
// ends the connection.
func (in *Input) Frame(h http2.FrameHeader) (http2.Frame, error) {
	in.large = in.large || h.Length > 1<<10
	if h.Type == http2.FrameHeaders || h.Type == http2.FrameContinuation {
		in.block = !h.Flags.Has(http2.FlagHeadersEndHeaders)
	}
	return in.framer.ReadFrameForHeader(h)
}

// Data returns the data of the DATA frame whose header Next returned, without its padding, where it lies. The Framer would
// copy it.
func (in *Input) Data(h http2.FrameHeader) ([]byte, error) {
	p := in.buf[in.start : in.start+int(h.Length)]
	in.start += int(h.Length)
	if h.StreamID == 0 {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if h.Flags.Has(http2.FlagDataPadded) {
		if len(p) == 0 {
			return nil, http2.ConnectionError(http2.ErrCodeFrameSize)
		}
		pad := int(p[0])
		if p = p[1:]; pad > len(p) {
			return nil, http2.ConnectionError(http2.ErrCodeProtocol)
		}
		p = p[:len(p)-pad]
	}
	return p, nil
}

// Detail says what was wrong with the last frame, where the Framer knows.
func (in *Input) Detail() string {
	if err := in.framer.ErrorDetail(); err != nil {
		return err.Error()
	}
	return ""
}

package codec

import (
	"bytes"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	maxChunkDigits    = 15   // sizes are less than 2^60
	maxChunkExtension = 1024 // bytes of one chunk's extensions

	// What the framing of a body may cost beyond what is granted to each chunk: 16 bytes, for small chunks are
	// legitimate, and as many as the chunk has data. The debt never falls below zero, so that a long body earns no
	// credit. Thus a body of n bytes in c chunks costs at most n + 16·c bytes of framing and this constant, whatever
	// extensions it has.
	maxChunkDebt = 16 << 10

	// A trailer's memory above this is given back with the next Reset.
	keptTrailer = 4 << 10
)

type chunkState uint8

const (
	chunkSize      chunkState = iota // at a digit of the size, or behind the last
	chunkExtension                   // behind ';'
	chunkLineEnd                     // at the LF that ends the size line
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
	chunkFailed
)

// ChunkDecoder takes a chunked body apart (RFC 9112 §7.1), no I/O. It never hands out bytes of a malformed chunk's
// header, and drops chunk extensions. The zero ChunkDecoder must be Reset before its first use.
type ChunkDecoder struct {
	lim     Limits
	state   chunkState
	digits  int   // of the size so far
	extras  int   // bytes of extensions in this line
	left    int64 // data bytes of this chunk still to come; while the size is read, the size so far
	debt    int64
	failure *HeadError

	raw     []byte // the trailer section as received
	line    int    // where raw's last line begins
	trailer exchange.Header
}

// Reset makes d ready for a body. lim bounds its trailer: Bytes and Fields.
func (d *ChunkDecoder) Reset(lim Limits) {
	d.lim = lim.WithDefaults()
	d.state, d.digits, d.extras, d.left, d.debt, d.failure = chunkSize, 0, 0, 0, 0, nil
	if cap(d.raw) > keptTrailer {
		d.raw, d.trailer = nil, exchange.Header{}
	}
	d.raw, d.line = d.raw[:0], 0
	d.trailer.Reset(nil)
}

// Decode reads on in a body whose next bytes are src. It returns the first data bytes there are, as a view of src (empty
// where src ends before any); how many bytes of src it has consumed, up to and with that data; and whether the body and
// its trailer have ended, which leaves the rest of src to what follows. Call it again with the rest. An error is a
// *HeadError with status 400.
func (d *ChunkDecoder) Decode(src []byte) (data []byte, consumed int, done bool, err error) {
	p := 0
	for d.state != chunkDone {
		if d.state == chunkFailed {
			return nil, p, false, d.failure
		}
		if p == len(src) {
			return nil, p, false, nil
		}
		switch d.state {
		case chunkData:
			n := int(min(int64(len(src)-p), d.left))
			if d.left -= int64(n); d.left == 0 {
				d.state = chunkDataCR
			}
			return src[p : p+n : p+n], p + n, false, nil
		case chunkTrailer:
			p = d.readTrailer(src, p)
		default:
			d.step(src[p])
			p++
		}
	}
	return nil, p, true, nil
}

// step takes one byte of what stands between data.
func (d *ChunkDecoder) step(c byte) {
	switch d.state {
	case chunkSize:
		d.stepSize(c)
	case chunkExtension:
		if c == '\r' {
			d.state = chunkLineEnd
			return
		}
		if d.extras++; classes[c]&valueByte == 0 || d.extras > maxChunkExtension {
			d.fail(errChunkExtension)
		}
	case chunkLineEnd:
		if c != '\n' {
			d.fail(errBareCR)
			return
		}
		d.beginChunk()
	case chunkDataCR:
		if d.state = chunkDataLF; c != '\r' {
			d.fail(errChunkEnd)
		}
	case chunkDataLF:
		if d.state = chunkSize; c != '\n' {
			d.fail(errChunkEnd)
		}
	}
}

func (d *ChunkDecoder) stepSize(c byte) {
	switch {
	case classes[c]&hexDigit != 0 && d.digits < maxChunkDigits:
		d.left = d.left<<4 | int64(hexValues[c])
		d.digits++
	case d.digits == 0:
		d.fail(errChunkSize)
	case c == '\r':
		d.state = chunkLineEnd
	case c == ';':
		d.state = chunkExtension
		d.extras++
	default: // white space before ';' too: RFC 9112 calls it bad
		d.fail(errChunkSize)
	}
}

// beginChunk goes on behind a size line.
func (d *ChunkDecoder) beginChunk() {
	framing := int64(d.digits + d.extras + len("\r\n\r\n"))
	d.debt = max(0, d.debt+framing-16-d.left)
	d.state = chunkData
	switch {
	case d.debt > maxChunkDebt:
		d.fail(errChunkOverhead)
	case d.left == 0:
		d.state = chunkTrailer
	}
	d.digits, d.extras = 0, 0
}

// readTrailer takes the next line of the trailer section, or what is there of it, and returns the place behind it.
func (d *ChunkDecoder) readTrailer(src []byte, p int) int {
	line := src[p:]
	i := bytes.IndexByte(line, '\n')
	if i >= 0 {
		line = line[:i+1]
	}
	if len(d.raw) == 0 && string(line) == "\r\n" {
		d.state = chunkDone // no trailer: nothing is copied
		return p + len(line)
	}
	if len(d.raw)+len(line) > d.lim.Bytes {
		d.fail(errTrailerSize)
		return p
	}
	d.raw = append(d.raw, line...)
	if i < 0 {
		return p + len(line)
	}
	last := d.raw[d.line:]
	d.line = len(d.raw)
	switch {
	case len(last) < 2 || last[len(last)-2] != '\r':
		d.fail(errBareLF)
	case len(last) == 2:
		d.parseTrailer()
	}
	return p + len(line)
}

func (d *ChunkDecoder) parseTrailer() {
	d.state = chunkDone
	d.trailer.Reset(d.raw)
	n, e := parseFields(&d.trailer, nil, d.raw, 0, trailerSection, d.lim.Fields)
	switch {
	case e != nil && e.request.Status == 400:
		d.fail(e)
	case e != nil || n != len(d.raw):
		d.fail(errTrailerSize)
	}
}

func (d *ChunkDecoder) fail(e *refusal) {
	d.state, d.failure = chunkFailed, &e.request
	d.trailer.Reset(nil)
}

// Trailer moves the trailer fields into h, which then owns its copies of them. It drops what must not come behind a body
// (RFC 9110 §6.5.1): whatever frames or routes a message, says who sends it or who may, or how its content is to be read
// or stored; and names with an underscore, which origins may take for one of those.
func (d *ChunkDecoder) Trailer(h *exchange.Header) {
	for i := range d.trailer.Len() {
		if id, name, value, ok := d.trailer.At(i); ok && allowedInTrailer(id, name) {
			h.AddBytes(name, value)
		}
	}
	d.trailer.Reset(nil)
}

// allowedNamed are the fields with an ID that do no harm in a trailer.
const allowedNamed = 1<<exchange.Other | 1<<exchange.Server | 1<<exchange.UserAgent

// notInTrailer are the fields without an ID that must not stand in a trailer.
var notInTrailer = []string{
	"Age", "Allow", "Authentication-Info", "Cache-Control", "Content-Location", "Content-Range", "Expires", "Proxy",
	"Proxy-Authentication-Info", "Pragma", "Range", "Strict-Transport-Security", "Vary", "Warning", "WWW-Authenticate",
}

func allowedInTrailer(id exchange.ID, name []byte) bool {
	if uint64(allowedNamed)>>id&1 == 0 || bytes.IndexByte(name, '_') >= 0 {
		return false
	}
	if id != exchange.Other {
		return true
	}
	if exchange.SpeaksForProxies(id, name) {
		return false
	}
	for _, prefix := range []string{"If-", "Access-Control-", "X-Client-Cert-"} {
		if len(name) >= len(prefix) && exchange.EqualFold(name[:len(prefix)], prefix) {
			return false
		}
	}
	for _, forbidden := range notInTrailer {
		if exchange.EqualFold(name, forbidden) {
			return false
		}
	}
	return true
}

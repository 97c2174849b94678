package wire

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

const (
	// tableSize is the size of the tables that hpack keeps, on both sides: its default.
	tableSize = 4096
	// maxBlockFrames is of how many frames one header block may be made. Nobody who fills his frames needs so many.
	maxBlockFrames = 64
	// blockSlack is by how much a header block may be larger than its fields may, so that who is above the limit is told so.
	blockSlack = 64 << 10
)

// A Decoder decodes the header blocks of a connection, one behind the other.
type Decoder struct {
	hpack  *hpack.Decoder
	fields *Fields // of the block that is being read; nil between blocks
	limit  int
	bytes  int
	frames int
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.hpack = hpack.NewDecoder(tableSize, func(h hpack.HeaderField) {
		if !d.fields.add(h) {
			d.hpack.SetEmitEnabled(false)
		}
	})
	return d
}

// Begin begins a header block, whose fields go to f.
func (d *Decoder) Begin(f *Fields, kind Kind, limits codec.Limits) {
	f.Reset(kind, limits)
	d.fields, d.bytes, d.frames, d.limit = f, 0, 0, f.limits.Bytes+blockSlack
	d.hpack.SetEmitEnabled(true)
}

// Open reports whether a header block has begun and not ended.
func (d *Decoder) Open() bool { return d.fields != nil }

// Write takes what one frame holds of the block. An error ends the connection: what follows could not be decoded.
func (d *Decoder) Write(fragment []byte) error {
	d.bytes += len(fragment)
	if d.frames++; d.frames > maxBlockFrames || d.bytes > d.limit {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if _, err := d.hpack.Write(fragment); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	return nil
}

// End ends the block.
func (d *Decoder) End() error {
	d.fields = nil
	if err := d.hpack.Close(); err != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	return nil
}

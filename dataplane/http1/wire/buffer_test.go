package wire

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestFrame(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 255, 256, 4096, BufferSize - 1, BufferSize} {
		data := bytes.Repeat([]byte{'x'}, n)
		for _, chunked := range []bool{false, true} {
			b := GetBuffer()
			for i := range b {
				b[i] = '?' // as a pooled one may look
			}
			if len(b.Data()) != BufferSize {
				t.Fatalf("Data has %d bytes, want %d", len(b.Data()), BufferSize)
			}
			copy(b.Data(), data)
			want := string(data)
			if chunked && n > 0 {
				want = strconv.FormatInt(int64(n), 16) + "\r\n" + want + "\r\n"
			}
			out := b.Frame(n, chunked)
			if string(out) != want {
				t.Errorf("Frame(%d, %t) begins with %.20q and has %d bytes, want %.20q and %d", n, chunked, out, len(out), want, len(want))
			}
			if n > 0 && &out[len(out)-1] != &b[room+n-1+2*boolToInt(chunked)] {
				t.Errorf("Frame(%d, %t) was copied", n, chunked)
			}
			const last = "0\r\n\r\n"
			behind := append(out, last...)
			if !strings.HasSuffix(string(behind), last) || n > 0 && &behind[0] != &out[0] {
				t.Errorf("Frame(%d, %t) has no room behind it", n, chunked)
			}
			b.Put()
		}
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pieces is a body of which one byte is at hand at a time, as chunks of a byte each are.
type pieces struct{ exchange.Bytes }

func (p *pieces) Buffered() []byte {
	all := p.Bytes.Buffered()
	return all[:min(1, len(all))]
}

func (p *pieces) Read(b []byte) (int, error) { return p.Bytes.Read(b[:1]) }

func TestFillGathersPieces(t *testing.T) {
	want := strings.Repeat("0123456789", BufferSize/10+1)
	body := &pieces{}
	body.Reset([]byte(want + "rest"))
	b := GetBuffer()
	defer b.Put()
	n, err := b.Fill(body)
	if err != nil || n != BufferSize || !strings.HasPrefix(want+"rest", string(b.Data()[:n])) {
		t.Fatalf("%d bytes, %v, %.20q; want a full buffer", n, err, b.Data())
	}
	n, err = b.Fill(body)
	if got := string(b.Data()[:n]); err != nil || got != (want + "rest")[BufferSize:] {
		t.Fatalf("%q, %v; want what was left", got, err)
	}
	if n, err = b.Fill(body); n != 0 || err != io.EOF {
		t.Fatalf("%d, %v; want the end", n, err)
	}
}

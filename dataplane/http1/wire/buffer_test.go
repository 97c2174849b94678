package wire

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
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

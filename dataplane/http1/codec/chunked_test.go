package codec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// decodeWhole decodes a body that is all there.
func decodeWhole(d *ChunkDecoder, body string) (size int, done bool, err error) {
	for rest := []byte(body); ; {
		view, n, done, err := d.Decode(rest)
		size += len(view)
		if rest = rest[n:]; done || err != nil || len(view) == 0 {
			return size, done, err
		}
	}
}

// decodeInPieces decodes a body as it arrives in pieces of the given size. It returns the data, and how many bytes the
// body took.
func decodeInPieces(d *ChunkDecoder, body string, size int) (data string, consumed int, done bool, err error) {
	var got []byte
	for end := min(size, len(body)); ; end = min(end+size, len(body)) {
		for {
			src := []byte(body[consumed:end])
			view, n, over, err := d.Decode(src)
			got = append(got, view...)
			consumed += n
			// What is decoded must not depend on memory that the caller uses again.
			for i := range src {
				src[i] = '#'
			}
			if over || err != nil {
				return string(got), consumed, over, err
			}
			if len(view) == 0 {
				break
			}
		}
		if end == len(body) {
			return string(got), consumed, false, nil
		}
	}
}

func TestChunkDecoderAccepts(t *testing.T) {
	for _, tt := range []struct {
		name, body, data string
		trailer          []string
	}{
		{"no data", "0\r\n\r\n", "", nil},
		{"some data", "4\r\nWiki\r\n7\r\npedia i\r\nB\r\nn \r\nchunks.\r\n0\r\n\r\n", "Wikipedia in \r\nchunks.", nil},
		{"hexadecimal in either case", "00a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", nil},
		{"extensions", "3;a\r\nabc\r\n3;a=b;c=\"d;\te\xff\"\r\ndef\r\n3;\r\nghi\r\n0;last\r\n\r\n", "abcdefghi", nil},
		{"trailer", "1\r\na\r\n0\r\nX-Sum: 1 \r\nx-other:\r\n\r\n", "a", []string{"X-Sum: 1", "x-other: "}},
		{"data that looks like framing", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", nil},
		{
			"trailer with what does not belong there",
			"0\r\nContent-Length: x\r\nTransfer-Encoding: gzip\r\nhost: b\r\nAuthorization: c\r\nCookie: d\r\nX-Forwarded-For: e\r\n" +
				"X-Forwarded-Foo: f\r\nIf-Match: g\r\nCache-control: h\r\nWWW-Authenticate: i\r\nSet-Cookie: j\r\nConnection: k\r\n" +
				"Content-Encoding: l\r\nX_Sum: m\r\nX-Real-IP: n\r\nTrailer: o\r\nAccess-Control-Allow-Origin: *\r\nExpect: x\r\n" +
				"X-Request-Id: p\r\nRange: q\r\ngrpc-status: 0\r\nServer-Timing: r\r\n\r\n",
			"",
			[]string{"grpc-status: 0", "Server-Timing: r"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &ChunkDecoder{}
			const next = "GET / HTTP/1.1\r\n\r\n"
			for piece := 1; piece <= len(tt.body)+len(next); piece++ {
				d.Reset(Limits{})
				data, consumed, done, err := decodeInPieces(d, tt.body+next, piece)
				if err != nil || !done || data != tt.data || consumed != len(tt.body) {
					t.Fatalf("in pieces of %d: got %q, %d bytes, %v, %v", piece, data, consumed, done, err)
				}
				var trailer exchange.Header
				d.Trailer(&trailer)
				if diff := cmp.Diff(tt.trailer, append([]string(nil), fieldsOf(&trailer)...)); diff != "" {
					t.Fatalf("in pieces of %d: trailer (-want +got):\n%s", piece, diff)
				}
				if _, n, done, err := d.Decode([]byte(next)); n != 0 || !done || err != nil {
					t.Fatalf("behind the end: got %d, %v, %v", n, done, err)
				}
			}
			for cut := range len(tt.body) {
				d.Reset(Limits{})
				if _, n, done, err := decodeInPieces(d, tt.body[:cut], max(1, cut)); n != cut || done || err != nil {
					t.Fatalf("the first %d bytes: got %d, %v, %v", cut, n, done, err)
				}
			}
		})
	}
}

func TestChunkDecoderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		data       string // handed out before the fault
	}{
		{"0x3", "0x3\r\nabc\r\n0\r\n\r\n", ""},
		{"plus", "+3\r\nabc\r\n0\r\n\r\n", ""},
		{"minus", "-3\r\nabc\r\n0\r\n\r\n", ""},
		{"underscore", "0_3\r\nabc\r\n0\r\n\r\n", ""},
		{"no digit", "g\r\nabc\r\n0\r\n\r\n", ""},
		{"empty size", "\r\nabc\r\n0\r\n\r\n", ""},
		{"empty size for the last", "\r\n\r\n", ""},
		{"extension without a size for the last", ";a\r\n\r\n", ""},
		{"extension without a size", ";a\r\nabc\r\n0\r\n\r\n", ""},
		{"space before the size", " 3\r\nabc\r\n0\r\n\r\n", ""},
		{"space behind the size", "3 \r\nabc\r\n0\r\n\r\n", ""},
		{"tab behind the size", "3\t\r\nabc\r\n0\r\n\r\n", ""},
		{"space before the extension", "3 ;a\r\nabc\r\n0\r\n\r\n", ""},
		{"2^60", "1000000000000000\r\n", ""},
		{"2^64 + 3", "10000000000000003\r\nabc\r\n0\r\n\r\n", ""},
		{"sixteen zeros", "0000000000000000\r\n\r\n", ""},
		{"bare LF behind the size", "3\nabc\r\n0\r\n\r\n", ""},
		{"bare CR behind the size", "3\rabc\r\n0\r\n\r\n", ""},
		{"NUL behind the size", "3\x00\r\nabc\r\n0\r\n\r\n", ""},
		{"NUL in an extension", "3;a\x00b\r\nabc\r\n0\r\n\r\n", ""},
		{"bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n", ""},
		{"bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n", ""},
		{"bare LF in a quoted extension", "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", ""},
		{"DEL in an extension", "3;a\x7f\r\nabc\r\n0\r\n\r\n", ""},
		{"data without CR LF", "3\r\nabc0\r\n\r\n", "abc"},
		{"data with LF only", "3\r\nabc\n0\r\n\r\n", "abc"},
		{"data with CR only", "3\r\nabc\r0\r\n\r\n", "abc"},
		{"data longer than its size", "2\r\nabc\r\n0\r\n\r\n", "ab"},
		{"bare LF behind the last chunk", "0\n\r\n", ""},
		{"bare LF for the trailer", "0\r\n\n", ""},
		{"bare LF in the trailer", "0\r\nA: b\nC: d\r\n\r\n", ""},
		{"bare LF in a trailer that goes on", "0\r\nA: b\nC: d", ""},
		{"bare CR for the trailer", "0\r\n\rA: b\r\n\r\n", ""},
		{"space before a trailer's colon", "0\r\nA : b\r\n\r\n", ""},
		{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", ""},
		{"trailer without colon", "0\r\nA\r\n\r\n", ""},
		{"NUL in a trailer", "0\r\nA: \x00\r\n\r\n", ""},
		{"request for a trailer", "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"too many trailer fields", "0\r\n" + strings.Repeat("A: b\r\n", 5) + "\r\n", ""},
		{"too large a trailer", "0\r\nA: " + strings.Repeat("b", 300) + "\r\n\r\n", ""},
		{"endless trailer", "0\r\nA: " + strings.Repeat("b", 300), ""},
		{"long extension", "3;" + strings.Repeat("a", 2000) + "\r\nabc\r\n0\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &ChunkDecoder{}
			for piece := 1; piece <= len(tt.body); piece++ {
				d.Reset(Limits{Bytes: 256, Fields: 4})
				data, _, done, err := decodeInPieces(d, tt.body, piece)
				if status := refusalStatus(t, err); status != 400 || done || data != tt.data {
					t.Fatalf("in pieces of %d: got %q, %v, status %d", piece, data, done, status)
				}
				if view, n, done, again := d.Decode([]byte("0\r\n\r\n")); len(view) > 0 || n != 0 || done || !errors.Is(again, err) {
					t.Fatalf("after its refusal it goes on: %q, %d, %v, %v", view, n, done, again)
				}
			}
		})
	}
}

func TestChunkDecoderCapsOverhead(t *testing.T) {
	for _, tt := range []struct {
		name        string
		extension   int // bytes, with the semicolon
		chunk, many int
		ok          bool
	}{
		{"one-byte chunks", 0, 1, 100_000, true},
		{"one-byte chunks with the extensions that are granted", 12, 1, 100_000, true},
		{"one-byte chunks with more", 13, 1, 100_000, false},
		{"one-byte chunks with 1 KiB extensions", 1024, 1, 17, false},
		{"a few large extensions", 1000, 1, 16, true},
		{"extensions as long as the data", 1000, 1000, 10_000, true},
		{"extensions twice as long as the data", 1000, 500, 10_000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			extension := strings.Repeat(";", tt.extension)
			one := fmt.Sprintf("%x%s\r\n%s\r\n", tt.chunk, extension, strings.Repeat("d", tt.chunk))
			d := &ChunkDecoder{}
			d.Reset(Limits{})
			size, done, err := decodeWhole(d, strings.Repeat(one, tt.many)+"0\r\n\r\n")
			if tt.ok && (err != nil || !done || size != tt.chunk*tt.many) {
				t.Errorf("got %d bytes, %v, %v", size, done, err)
			}
			if !tt.ok && !errors.Is(err, &errChunkOverhead.request) {
				t.Errorf("got %d bytes, %v; want %v", size, err, &errChunkOverhead.request)
			}
		})
	}
}

// A large body earns no credit for a bomb behind it.
func TestChunkDecoderGivesNoCredit(t *testing.T) {
	body := string(chunkedBody(1<<20, 1<<16))
	body = strings.TrimSuffix(body, "0\r\n\r\n") + strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 20)
	d := &ChunkDecoder{}
	d.Reset(Limits{})
	if _, _, err := decodeWhole(d, body); !errors.Is(err, &errChunkOverhead.request) {
		t.Errorf("got %v", err)
	}
}

func TestChunkDecoderGivesMemoryBack(t *testing.T) {
	d := &ChunkDecoder{}
	d.Reset(Limits{})
	body := "0\r\nA: " + strings.Repeat("b", 60000) + "\r\n\r\n"
	if _, done, err := decodeWhole(d, body); !done || err != nil {
		t.Fatal(done, err)
	}
	d.Reset(Limits{})
	if cap(d.raw) > keptTrailer {
		t.Errorf("%d bytes are kept", cap(d.raw))
	}
	var trailer exchange.Header
	d.Trailer(&trailer)
	if trailer.Len() != 0 {
		t.Error("Reset must forget the trailer")
	}
}

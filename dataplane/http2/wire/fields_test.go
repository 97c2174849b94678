package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

// encode makes a header block of name, value, name, value …
func encode(list ...string) []byte {
	var out bytes.Buffer
	e := hpack.NewEncoder(&out)
	for i := 0; i+1 < len(list); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
	}
	return out.Bytes()
}

// decode collects the fields of one block.
func decode(t testing.TB, kind Kind, limits codec.Limits, block []byte) *Fields {
	t.Helper()
	d, f := NewDecoder(), &Fields{}
	d.Begin(f, kind, limits)
	if err := d.Write(block); err != nil {
		t.Fatal(err)
	}
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	return f
}

func text(h *exchange.Header) string {
	var lines []string
	for i := range h.Len() {
		if id, name, value, ok := h.At(i); ok {
			if id != exchange.Lookup(name) {
				lines = append(lines, fmt.Sprintf("[%v is not %q]", id, name))
			}
			lines = append(lines, string(name)+": "+string(value))
		}
	}
	return strings.Join(lines, "\n")
}

func TestResponses(t *testing.T) {
	for _, test := range []struct {
		fields []string
		method exchange.Method
		ended  bool
		length int64
		fault  bool
	}{
		{[]string{":status", "200", "content-length", "5"}, exchange.GET, false, 5, false},
		{[]string{":status", "200", "content-length", "5"}, exchange.HEAD, true, 5, false},
		{[]string{":status", "200", "content-length", "5"}, exchange.GET, true, 0, true},
		{[]string{":status", "304", "content-length", "5"}, exchange.GET, true, 5, false},
		{[]string{":status", "200"}, exchange.GET, true, 0, false},
		{[]string{":status", "200"}, exchange.GET, false, -1, false},
		{[]string{":status", "101"}, exchange.GET, false, -1, true},
		{[]string{":status", "20"}, exchange.GET, false, -1, true},
		{[]string{":status", "+20"}, exchange.GET, false, -1, true},
		{[]string{":status", "600"}, exchange.GET, false, -1, true},
		{[]string{"a", "b"}, exchange.GET, false, -1, true},
		{[]string{":status", "200", ":path", "/"}, exchange.GET, false, -1, true},
		{[]string{":status", "200", "connection", "close"}, exchange.GET, false, -1, true},
		{[]string{":status", "200", "transfer-encoding", "chunked"}, exchange.GET, false, -1, true},
	} {
		var r exchange.Response
		fault := decode(t, ResponseHead, codec.Limits{}, encode(test.fields...)).Response(&r, test.method, test.ended)
		if (fault != nil) != test.fault || fault == nil && r.ContentLength != test.length {
			t.Errorf("%q: %v, length %d", test.fields, fault, r.ContentLength)
		}
		if fault != nil && (fault.Status != 502 || fault.Reason != exchange.UpstreamProtocol) {
			t.Errorf("%q: %+v", test.fields, fault)
		}
	}
}

func TestTrailers(t *testing.T) {
	f := decode(t, RequestTrailer, codec.Limits{}, encode("x-sum", "1", "content-length", "3", "host", "evil", "x_y", "1", "grpc-status", "0"))
	var h exchange.Header
	f.Trailer(&h)
	if fault := f.Fault(); fault != nil || text(&h) != "x-sum: 1\ngrpc-status: 0" {
		t.Errorf("%v, %q", fault, text(&h))
	}
}

// TestBlocksInPieces: where a block is cut does not matter, nor what went wrong with an earlier one.
func TestBlocksInPieces(t *testing.T) {
	var out bytes.Buffer
	e := hpack.NewEncoder(&out)
	block := func(list ...string) []byte {
		out.Reset()
		for i := 0; i+1 < len(list); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
		}
		return bytes.Clone(out.Bytes())
	}
	d, f := NewDecoder(), &Fields{}
	limits := codec.Limits{Bytes: 1000, Fields: 10}
	large := block("x-known", "first", "x-large", strings.Repeat("x", 900), "x-more", strings.Repeat("y", 900), "x-last", "kept")
	d.Begin(f, RequestTrailer, limits)
	for len(large) > 0 {
		n := min(len(large), 40)
		if err := d.Write(large[:n]); err != nil {
			t.Fatal(err)
		}
		large = large[n:]
	}
	if err := d.End(); err != nil || f.Fault() == nil || f.Fault().Status != 431 {
		t.Fatalf("%v, %v", err, f.Fault())
	}
	next := block("x-known", "first", "x-last", "kept") // by their places in the table
	for cut := range next {
		d.Begin(f, RequestTrailer, limits)
		if err := d.Write(next[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := d.Write(next[cut:]); err != nil {
			t.Fatal(err)
		}
		var h exchange.Header
		if err := d.End(); err != nil || f.Fault() != nil {
			t.Fatalf("%v, %v", err, f.Fault())
		}
		if f.Trailer(&h); text(&h) != "x-known: first\nx-last: kept" {
			t.Fatalf("%q", text(&h))
		}
	}
}

// FuzzFields: whatever a header block says, a request that is found right can be written as HTTP/1.1, and is read there as
// what it was.
func FuzzFields(f *testing.F) {
	f.Add(encode(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x?y", "cookie", "a", "x", "y", "cookie", "b"), true)
	f.Add(encode(":method", "POST", ":scheme", "https", ":path", "/", "host", "a:80", "content-length", "5", "te", "trailers"), false)
	f.Add(encode(":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "[::1]:8"), true)
	f.Add(encode(":method", "CONNECT", ":authority", "a:1"), true)
	f.Add([]byte{0x82, 0x84, 0x87, 0x41, 1, 'a', 0x40, 1, 'x', 3, 'a', '\r', '\n'}, true)
	f.Fuzz(func(t *testing.T, block []byte, ended bool) {
		d, fields := NewDecoder(), &Fields{}
		d.Begin(fields, RequestHead, codec.Limits{Bytes: 4096, Fields: 20})
		if d.Write(block) != nil || d.End() != nil {
			return
		}
		var r exchange.Request
		if fields.Request(&r, ended) != nil {
			return
		}
		if fields.Size() > 4096 || len(r.Host) == 0 {
			t.Fatalf("%d bytes, host %q", fields.Size(), r.Host)
		}
		if r.Method == exchange.CONNECT {
			return // it is answered here
		}
		framing := codec.NoBody
		switch {
		case r.ContentLength > 0:
			framing = codec.LengthBody
		case r.ContentLength < 0:
			framing = codec.ChunkedBody
		}
		r.Header.DelID(exchange.TE)
		head := codec.AppendRequestHead(nil, &r, framing)
		var again exchange.Request
		n, err := codec.ParseRequest(&again, append(head, "GET /smuggled"...), 0, codec.Limits{Bytes: 1 << 16, Fields: 40})
		if err != nil || n != len(head) {
			t.Fatalf("%q is read as %d bytes, %v", head, n, err)
		}
		if string(again.MethodName) != string(r.MethodName) || string(again.RawPath) != string(r.RawPath) || string(again.Query) != string(r.Query) ||
			string(again.Host) != string(r.Host) || again.HasQuery != r.HasQuery || again.ContentLength != r.ContentLength {
			t.Fatalf("%+v is read as %+v from %q", r, again, head)
		}
		for _, id := range []exchange.ID{exchange.Host, exchange.ContentLength, exchange.TransferEncoding} {
			again.Header.DelID(id)
			r.Header.DelID(id)
		}
		if text(&again.Header) != text(&r.Header) {
			t.Fatalf("%q is read as %q", text(&r.Header), text(&again.Header))
		}
	})
}

package exchange

import (
	"bytes"
	"io"
	"net/netip"
	"reflect"
	"testing"
	"testing/iotest"
	"time"
)

func TestReset(t *testing.T) {
	conn := &Conn{Listener: 3}
	x := Exchange{
		Request: Request{
			Method: POST, Upgrade: true, Close: true, Expect: true, MethodName: []byte("POST"), Host: []byte("a"), Path: []byte("/"),
			ContentLength: 5, Body: &Bytes{},
		},
		Conn: conn, ClientIP: netip.MustParseAddr("10.0.0.1"), ClientTrusted: true, PrefixLen: 4, RequestID: []byte("x"),
		Record: Record{Status: 200, Reason: NoRoute},
	}
	x.Request.Header.Add("Host", "a")
	x.Request.Trailer.Add("Host", "a")
	x.Answer(500, Internal)
	x.Reset()

	q, r := &x.Request, &x.Response
	if q.Method != 0 || q.Upgrade || q.Close || q.Expect || q.MethodName != nil || q.Host != nil || q.Path != nil || q.ContentLength != 0 || q.Body != nil {
		t.Errorf("the request is left: %+v", q)
	}
	if r.Status != 0 || r.Local || r.Body != nil || r.ContentLength != 0 {
		t.Errorf("the response is left: %+v", r)
	}
	for _, h := range []*Header{&q.Header, &q.Trailer, &r.Header, &r.Trailer} {
		if h.Len() != 0 {
			t.Errorf("fields are left: %q", list(h))
		}
	}
	if x.ClientIP.IsValid() || x.ClientTrusted || x.PrefixLen != 0 || x.RequestID != nil || !reflect.DeepEqual(x.Record, Record{}) {
		t.Errorf("%+v", x.Record)
	}
	if x.Conn != conn {
		t.Error("the connection is forgotten")
	}
}

func TestScratch(t *testing.T) {
	var x Exchange
	var all [][]byte
	for i := range 200 { // more than the first piece of memory holds
		b := x.Scratch(i)
		if len(b) != i {
			t.Fatalf("asked for %d bytes, got %d", i, len(b))
		}
		for j := range b {
			b[j] = byte(i)
		}
		all = append(all, append(b, 0xff)) // must not reach into the next one
	}
	for i, b := range all {
		if want := append(bytes.Repeat([]byte{byte(i)}, i), 0xff); !bytes.Equal(b, want) {
			t.Fatalf("the slice of %d bytes was written to: %v", i, b)
		}
	}
	x.Reset()
	if cap(x.scratch) > maxScratch {
		t.Errorf("%d bytes are kept for the next request", cap(x.scratch))
	}
	if n := testing.AllocsPerRun(100, func() { x.Reset(); x.Scratch(500); x.Scratch(500) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBytes(t *testing.T) {
	var b Bytes
	b.Reset([]byte("hello, world"))
	if got := b.Buffered(); string(got) != "hello, world" {
		t.Errorf("Buffered: %q", got)
	}
	b.Skip(7)
	if err := iotest.TestReader(&b, []byte("world")); err != nil {
		t.Error(err)
	}
	b.Reset([]byte("x"))
	b.Skip(1)
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
	if b.Rewind(); b.Ended() || string(b.Buffered()) != "x" || string(b.Whole()) != "x" {
		t.Errorf("rewound: %q of %q", b.Buffered(), b.Whole())
	}
}

func TestNanos(t *testing.T) {
	before := time.Now()
	n := Now()
	if n <= 0 {
		t.Errorf("Now() = %d: 0 means not yet", n)
	}
	if d := time.Duration(Now() - n); d < 0 || d > time.Since(before) {
		t.Errorf("%v passed", d)
	}
}

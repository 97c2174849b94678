package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// The fuzz targets hold the codec against net/http: what is accepted here, net/http must accept too, and read as the same
// message with the same end. (The other way round it need not be: this codec refuses much that net/http lets pass.)
// Differences that are allowed, because they are decided elsewhere or net/http is the one that differs:
//   - net/http decodes the target's percent-encoding and checks it; here the target is left as it stands;
//   - net/http refuses a Trailer field that announces framing; here what a Trailer field says means nothing;
//   - net/http knows no empty line before a request, and no rule for OPTIONS in absolute-form without a path.

// sizes are the pieces in which fuzzed input is fed again: the result must be the same.
var sizes = []int{1, 2, 7, 64}

// pending reports whether data may still wait for its end: a fault in a head that comes in pieces is found at the latest
// with its last line.
func pending(data []byte) bool { return !bytes.Contains(data, []byte("\r\n\r\n")) }

// drain decodes a whole chunked body. It returns the data, the bytes behind the body, and whether the body ended.
func drain(d *ChunkDecoder, src []byte) (data, rest []byte, done bool, err error) {
	d.Reset(Limits{})
	for {
		view, n, done, err := d.Decode(src)
		data, src = append(data, view...), src[n:]
		if done || err != nil || len(view) == 0 {
			return data, src, done, err
		}
	}
}

// body reads a body of that framing out of src. complete is false where src has not all of it, or where it is malformed.
func body(framing Framing, length int64, src []byte) (data, rest []byte, complete bool) {
	switch framing {
	case ChunkedBody:
		data, rest, done, err := drain(&ChunkDecoder{}, src)
		return data, rest, done && err == nil
	case LengthBody:
		if int64(len(src)) < length {
			return nil, nil, false
		}
		return src[:length], src[length:], true
	case UntilClose:
		return src, nil, true
	case NoBody:
	}
	return nil, src, true
}

// readAll reads net/http's view of a body to its end, and what is left behind it.
func readAll(t *testing.T, from io.Reader, r *bufio.Reader) (data, rest []byte, err error) {
	t.Helper()
	data, err = io.ReadAll(from)
	if err != nil {
		return data, nil, err
	}
	if rest, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data, rest, nil
}

func checkFields(t *testing.T, h *exchange.Header, theirs http.Header, without ...string) {
	t.Helper()
	ours := http.Header{}
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			key := textproto.CanonicalMIMEHeaderKey(string(name))
			ours[key] = append(ours[key], string(value))
		}
	}
	theirs = theirs.Clone()
	for _, name := range append(without, "Host", "Connection", "Transfer-Encoding", "Content-Length", "Trailer", "Cache-Control") {
		ours.Del(name)
		theirs.Del(name)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("fields (-net/http +ours):\n%s", diff)
	}
}

func addSeeds(f *testing.F, folder string) {
	for _, data := range seeds(f, folder) {
		f.Add(data)
	}
}

func FuzzParseRequest(f *testing.F) {
	addSeeds(f, "requests")
	for _, tt := range acceptedRequests {
		f.Add([]byte(tt.head))
	}
	for _, tt := range refusedRequests {
		f.Add([]byte(tt.head))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &exchange.Request{}
		n, err := ParseRequest(r, data, 0, Limits{})
		status := refusalStatus(t, err)
		if len(data) < 4096 {
			for _, size := range sizes {
				pieces, m, err := parseInPieces(string(data), size, Limits{})
				got := refusalStatus(t, err)
				if m == 0 && err == nil && pending(data) {
					continue
				}
				if m != n || got != status {
					t.Fatalf("in pieces of %d: %d, status %d (%v); whole: %d, status %d", size, m, got, err, n, status)
				}
				if n > 0 {
					if diff := cmp.Diff(describe(r), describe(pieces)); diff != "" {
						t.Fatalf("in pieces of %d (-whole +pieces):\n%s", size, diff)
					}
				}
			}
		}
		if n == 0 {
			return
		}
		if n > len(data) || !bytes.HasSuffix(data[:n], []byte("\r\n\r\n")) {
			t.Fatalf("the head's end is not at %d", n)
		}
		compareRequest(t, r, data, n)
		roundTripRequest(t, r)
	})
}

// compareRequest compares r, which was parsed from data[:n], and its body to what net/http reads.
func compareRequest(t *testing.T, r *exchange.Request, data []byte, n int) {
	head := bytes.TrimPrefix(data, []byte("\r\n"))
	sameTarget := true
	reader := bufio.NewReaderSize(bytes.NewReader(head), 1<<17)
	theirs, err := http.ReadRequest(reader)
	if err != nil && strings.Contains(err.Error(), "bad trailer key") {
		return
	}
	var badURL *url.Error
	if errors.As(err, &badURL) {
		// The same request with a target that net/http can decode.
		sameTarget = false
		line := bytes.IndexByte(head, '\n')
		rewritten := fmt.Sprintf("%s / %s\r\n%s", r.MethodName, head[line-9:line-1], head[line+1:])
		reader = bufio.NewReaderSize(strings.NewReader(rewritten), 1<<17)
		theirs, err = http.ReadRequest(reader)
	}
	if err != nil {
		t.Fatalf("net/http refuses: %v", err)
	}

	if theirs.Method != string(r.MethodName) {
		t.Errorf("method: net/http %q, ours %q", theirs.Method, r.MethodName)
	}
	if theirs.ProtoMinor == 1 != (r.Protocol == exchange.HTTP11) {
		t.Errorf("version: net/http %s, ours %s", theirs.Proto, r.Protocol)
	}
	if theirs.Close != r.Close {
		t.Errorf("close: net/http %v, ours %v", theirs.Close, r.Close)
	}
	if sameTarget {
		if theirs.Host != string(r.Host) {
			t.Errorf("host: net/http %q, ours %q", theirs.Host, r.Host)
		}
		path, err := url.PathUnescape(string(r.RawPath))
		if theirs.URL.Path == "" && (path == "/" || path == "*" && r.Method == exchange.OPTIONS) {
			path = ""
		}
		if err != nil || theirs.URL.Path != path || theirs.URL.RawQuery != string(r.Query) {
			t.Errorf("target: net/http %q, ours %q ? %q (%v)", theirs.URL, r.RawPath, r.Query, err)
		}
	}
	checkFields(t, &r.Header, theirs.Header, "Expect")

	if chunked := len(theirs.TransferEncoding) > 0; chunked != (r.ContentLength < 0) ||
		!chunked && theirs.ContentLength != r.ContentLength {
		t.Fatalf("length: net/http %d %v, ours %d", theirs.ContentLength, theirs.TransferEncoding, r.ContentLength)
	}
	compareBody(t, requestFraming(r), r.ContentLength, data[n:], theirs.Body, reader)
}

func requestFraming(r *exchange.Request) Framing {
	switch {
	case r.ContentLength < 0:
		return ChunkedBody
	case r.ContentLength > 0:
		return LengthBody
	}
	return NoBody
}

func compareBody(t *testing.T, framing Framing, length int64, src []byte, theirs io.Reader, reader *bufio.Reader) {
	t.Helper()
	data, rest, complete := body(framing, length, src)
	theirData, theirRest, err := readAll(t, theirs, reader)
	switch {
	case complete && err != nil:
		t.Errorf("net/http refuses the body %q: %v", src, err)
	case complete && (!bytes.Equal(data, theirData) || !bytes.Equal(rest, theirRest)):
		t.Errorf("body: net/http %q and then %q, ours %q and then %q", theirData, theirRest, data, rest)
	}
}

// roundTripRequest checks that what is sent on is read as what was received.
func roundTripRequest(t *testing.T, r *exchange.Request) {
	if r.Method == exchange.CONNECT || len(r.Host) == 0 {
		return // never sent on; sent on only with a Host of the proxy's choice
	}
	sent := AppendRequestHead(nil, r, requestFraming(r))
	got := &exchange.Request{}
	n, err := ParseRequest(got, sent, 0, Limits{RequestLine: 1 << 16, Bytes: 1 << 17, Fields: 256})
	if err != nil || n != len(sent) {
		t.Fatalf("%q is read as %d, %v", sent, n, err)
	}
	want := describe(r)
	have := describe(got)
	want.Fields, have.Fields = withoutWritten(&r.Header), withoutWritten(&got.Header)
	if r.Protocol == exchange.HTTP10 { // what goes on is HTTP/1.1, where the same fields say more
		want.Protocol = exchange.HTTP11
		want.Close, want.Upgrade = have.Close, have.Upgrade
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Fatalf("%q (-received +sent):\n%s", sent, diff)
	}
}

// withoutWritten lists the fields that the Append functions copy.
func withoutWritten(h *exchange.Header) []string {
	fields := []string{}
	for i := range h.Len() {
		if id, name, value, ok := h.At(i); ok && uint64(writtenInRequest)>>id&1 == 0 {
			fields = append(fields, string(name)+": "+string(value))
		}
	}
	return fields
}

func FuzzParseResponse(f *testing.F) {
	for _, data := range seeds(f, "responses") {
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		method := exchange.GET
		if head {
			method = exchange.HEAD
		}
		r := &exchange.Response{}
		result, err := ParseResponse(r, method, data, 0, Limits{})
		status := refusalStatus(t, err)
		if len(data) < 4096 {
			for _, size := range sizes {
				pieces, got, err := parseResponseInPieces(method, string(data), size, Limits{})
				s := refusalStatus(t, err)
				if got.Size == 0 && err == nil && pending(data) {
					continue
				}
				if got != result || s != status {
					t.Fatalf("in pieces of %d: %+v, status %d (%v); whole: %+v, status %d", size, got, s, err, result, status)
				}
				if result.Size > 0 {
					if diff := cmp.Diff(fieldsOf(&r.Header), fieldsOf(&pieces.Header)); diff != "" {
						t.Fatalf("in pieces of %d (-whole +pieces):\n%s", size, diff)
					}
				}
			}
		}
		if result.Size == 0 {
			return
		}
		compareResponse(t, r, method, result, data)

		sent := AppendResponseHead(nil, r, result.Framing)
		again := &exchange.Response{}
		got, err := ParseResponse(again, method, sent, 0, Limits{RequestLine: 1 << 16, Bytes: 1 << 17, Fields: 256})
		if err != nil || got.Size != len(sent) || got.Framing != result.Framing || again.ContentLength != r.ContentLength {
			t.Fatalf("%q is read as %+v of %d, %v", sent, got, again.ContentLength, err)
		}
		if diff := cmp.Diff(withoutWritten(&r.Header), withoutWritten(&again.Header)); diff != "" {
			t.Fatalf("%q (-received +sent):\n%s", sent, diff)
		}
	})
}

func compareResponse(t *testing.T, r *exchange.Response, method exchange.Method, result ResponseHead, data []byte) {
	reader := bufio.NewReaderSize(bytes.NewReader(data), 1<<17)
	theirs, err := http.ReadResponse(reader, &http.Request{Method: method.String()})
	if err != nil && strings.Contains(err.Error(), "bad trailer key") {
		return
	}
	if err != nil {
		t.Fatalf("net/http refuses: %v", err)
	}
	if theirs.StatusCode != r.Status {
		t.Errorf("status: net/http %d, ours %d", theirs.StatusCode, r.Status)
	}
	if result.KeepAlive && theirs.Close {
		t.Errorf("net/http closes, ours keeps: %+v", result)
	}
	checkFields(t, &r.Header, theirs.Header)
	compareBody(t, result.Framing, r.ContentLength, data[result.Size:], theirs.Body, reader)
}

func FuzzChunkDecoder(f *testing.F) {
	addSeeds(f, "chunked")
	f.Fuzz(func(t *testing.T, src []byte) {
		d := &ChunkDecoder{}
		data, rest, done, err := drain(d, src)
		status := refusalStatus(t, err)
		var trailer exchange.Header
		d.Trailer(&trailer)
		if len(src) < 4096 {
			for _, size := range sizes {
				d.Reset(Limits{})
				got, n, over, err := decodeInPieces(d, string(src), size)
				if s := refusalStatus(t, err); got != string(data) || over != done || s != status || done && n != len(src)-len(rest) {
					t.Fatalf("in pieces of %d: %q, %d, %v, %v; whole: %q, %d, %v, %d",
						size, got, n, over, err, data, len(src)-len(rest), done, status)
				}
				var again exchange.Header
				d.Trailer(&again)
				if diff := cmp.Diff(fieldsOf(&trailer), fieldsOf(&again)); diff != "" {
					t.Fatalf("in pieces of %d: trailer (-whole +pieces):\n%s", size, diff)
				}
			}
		}
		if !done {
			return
		}
		const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		reader := bufio.NewReaderSize(strings.NewReader(head+string(src)), 1<<17)
		theirs, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatal(err)
		}
		compareBody(t, ChunkedBody, -1, src, theirs.Body, reader)

		// What is sent on is a body with the same data and the same trailer.
		var sent []byte
		if len(data) > 0 {
			sent = append(append(AppendChunkHeader(nil, len(data)), data...), "\r\n"...)
		}
		sent = AppendLastChunk(sent, &trailer)
		got, behind, over, err := drain(d, sent)
		if err != nil || !over || len(behind) > 0 || !bytes.Equal(got, data) {
			t.Fatalf("%q is read as %q, %v, %v", sent, got, over, err)
		}
		var again exchange.Header
		d.Trailer(&again)
		if diff := cmp.Diff(fieldsOf(&trailer), fieldsOf(&again)); diff != "" {
			t.Fatalf("%q: trailer (-received +sent):\n%s", sent, diff)
		}
	})
}

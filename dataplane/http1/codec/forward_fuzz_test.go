package codec_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/test/readers"
)

// These targets are an oracle on what leaves the codec, whatever bytes came in: it must be one message to every reader.
// They do what the callers of the codec have promised, and nothing else: fields of the client's connection, and those whose
// name has an underscore, go no further. test/conformance has a target that tries the same on the whole proxy.

// alone are the laxnesses that what leaves is read with.
var alone = readers.Alone()

// seed adds the files of a folder of test/fixtures/http1, each with what is said behind it.
func seed(f *testing.F, folder string, add func([]byte)) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", "..", "test", "fixtures", "http1", folder, "*"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds in %s: %v", folder, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}

// stripHop removes the fields that are the connection's own.
func stripHop(h *exchange.Header) {
	for _, id := range [...]exchange.ID{
		exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TE, exchange.Upgrade, exchange.HTTP2Settings,
	} {
		h.DelID(id)
	}
	h.DropUnderscored(false)
}

func FuzzForwardedRequests(f *testing.F) {
	seed(f, "requests", func(data []byte) { f.Add(data) })
	seed(f, "chunked", func(data []byte) {
		f.Add(append([]byte("POST /p?q HTTP/1.1\r\nHost: a.example\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"), data...))
	})
	for _, text := range []string{
		"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 003\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nContent_Length: 9\r\nX: y\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: a.example\r\ncontent_length: 5\r\nX:\xa0y\xa0\r\nContent-Length: 0\r\n\r\nabcde",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for range 8 { // as many as may come one behind the other
			x := &exchange.Exchange{}
			r := &x.Request
			n, err := codec.ParseRequest(r, data, 0, codec.Limits{})
			if err != nil || n == 0 || r.Method == exchange.CONNECT {
				return
			}
			if !x.NormalizePath() {
				return
			}
			if len(r.Host) == 0 {
				r.Host = []byte("default.example") // as the proxy does where HTTP/1.0 names none
			}
			stripHop(&r.Header)
			sent, body, rest, ok := forward(r, data[n:])
			if !ok {
				return // it does not end, or is refused: the connection is cut
			}
			target := string(r.Path)
			if r.HasQuery {
				target += "?" + string(r.Query)
			}
			want := readers.Reading{Method: string(r.MethodName), Target: target, Host: string(r.Host), Body: string(body)}
			if problems := readers.Requests(sent, want, alone); len(problems) > 0 {
				t.Fatalf("%q was sent on as %q:\n%s", data, sent, strings.Join(problems, "\n"))
			}
			again := &exchange.Request{}
			if n, err := codec.ParseRequest(again, sent, 0, codec.Limits{RequestLine: 1 << 16, Bytes: 1 << 18, Fields: 256}); err != nil {
				t.Fatalf("%q is refused: %v", sent, err)
			} else if got, left, ok := contents(again, sent[n:]); !ok || !bytes.Equal(got, body) || len(left) > 0 {
				t.Fatalf("%q has the body %q (%t) and then %q", sent, got, ok, left)
			}
			data = rest
		}
	})
}

// forward returns the request as it is sent on, its body, and what came behind it.
func forward(r *exchange.Request, src []byte) (sent, body, rest []byte, ok bool) {
	switch {
	case r.ContentLength < 0:
		sent = codec.AppendRequestHead(nil, r, codec.ChunkedBody)
		var d codec.ChunkDecoder
		d.Reset(codec.Limits{})
		for {
			view, n, done, err := d.Decode(src)
			src = src[n:]
			if len(view) > 0 {
				body = append(body, view...)
				sent = codec.AppendData(sent, view, codec.ChunkedBody)
			}
			if done {
				var trailer exchange.Header
				d.Trailer(&trailer)
				return codec.AppendLastChunk(sent, &trailer), body, src, true
			}
			if err != nil || len(view) == 0 {
				return nil, nil, nil, false
			}
		}
	case int64(len(src)) < r.ContentLength:
		return nil, nil, nil, false
	case r.ContentLength == 0:
		return codec.AppendRequestHead(nil, r, codec.NoBody), nil, src, true
	}
	body = src[:r.ContentLength]
	sent = codec.AppendRequestHead(nil, r, codec.LengthBody)
	return codec.AppendData(sent, body, codec.LengthBody), body, src[r.ContentLength:], true
}

// contents reads the body of a request with the codec itself.
func contents(r *exchange.Request, src []byte) (body, rest []byte, ok bool) {
	_, body, rest, ok = forward(r, src)
	return body, rest, ok
}

func FuzzForwardedResponses(f *testing.F) {
	seed(f, "responses", func(data []byte) {
		for head := range 2 {
			f.Add(data, head == 1, false)
			f.Add(data, head == 1, true)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte, head, http10 bool) {
		method := exchange.GET
		if head {
			method = exchange.HEAD
		}
		r := &exchange.Response{}
		result, err := codec.ParseResponse(r, method, data, 0, codec.Limits{})
		if err != nil || result.Size == 0 || r.Status == 101 {
			return
		}
		stripHop(&r.Header)
		src := data[result.Size:]
		framing := result.Framing
		switch {
		case framing == codec.UntilClose, framing == codec.ChunkedBody:
			framing = codec.ChunkedBody // what has no length is framed anew
			if http10 {
				framing = codec.UntilClose
				r.Header.AddIDString(exchange.Connection, "close")
			}
		case framing == codec.LengthBody && int64(len(src)) < r.ContentLength:
			return
		}
		sent := codec.AppendResponseHead(nil, r, framing)
		var body []byte
		switch result.Framing {
		case codec.NoBody:
		case codec.LengthBody:
			body = src[:r.ContentLength]
			sent = codec.AppendData(sent, body, framing)
		case codec.UntilClose:
			body = src
			if len(body) > 0 {
				sent = codec.AppendData(sent, body, framing)
			}
			if framing == codec.ChunkedBody {
				sent = codec.AppendLastChunk(sent, nil)
			}
		case codec.ChunkedBody:
			var d codec.ChunkDecoder
			d.Reset(codec.Limits{})
			for done := false; !done; {
				var view []byte
				var n int
				if view, n, done, err = d.Decode(src); err != nil || !done && len(view) == 0 {
					return
				}
				src = src[n:]
				if len(view) > 0 {
					body = append(body, view...)
					sent = codec.AppendData(sent, view, framing)
				}
			}
			if framing == codec.ChunkedBody {
				var trailer exchange.Header
				d.Trailer(&trailer)
				sent = codec.AppendLastChunk(sent, &trailer)
			}
		}
		want := readers.Reading{Status: string(sent[9:12]), Body: string(body)}
		if problems := readers.Responses(sent, method.String(), framing == codec.UntilClose, want, alone); len(problems) > 0 {
			t.Fatalf("%q was sent on as %q:\n%s", data, sent, strings.Join(problems, "\n"))
		}
	})
}

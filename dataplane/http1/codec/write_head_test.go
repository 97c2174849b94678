package codec

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestAppendRequestHead(t *testing.T) {
	const head = "POST /%61?q=1 HTTP/1.1\r\nA: b\r\nhost:\texample\r\nTransfer-Encoding: chunked\r\nB:c \r\n\r\n"
	for _, tt := range []struct {
		name    string
		change  func(r *exchange.Request)
		framing Framing
		want    string
	}{
		{
			"chunked", func(*exchange.Request) {}, ChunkedBody,
			"POST /%61?q=1 HTTP/1.1\r\nHost: example\r\nA: b\r\nB: c\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
		{
			"length", func(r *exchange.Request) { r.ContentLength = 0 }, LengthBody,
			"POST /%61?q=1 HTTP/1.1\r\nHost: example\r\nA: b\r\nB: c\r\nContent-Length: 0\r\n\r\n",
		},
		{
			"POST without a body says so", func(*exchange.Request) {}, NoBody,
			"POST /%61?q=1 HTTP/1.1\r\nHost: example\r\nA: b\r\nB: c\r\nContent-Length: 0\r\n\r\n",
		},
		{
			"GET without a body does not", func(r *exchange.Request) { r.Method, r.MethodName = exchange.GET, nil }, NoBody,
			"GET /%61?q=1 HTTP/1.1\r\nHost: example\r\nA: b\r\nB: c\r\n\r\n",
		},
		{
			"normalised and rewritten", func(r *exchange.Request) {
				r.Path, r.HasQuery, r.Host = []byte("/a"), false, []byte("other:1")
			}, ChunkedBody,
			"POST /a HTTP/1.1\r\nHost: other:1\r\nA: b\r\nB: c\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
		{
			"empty query", func(r *exchange.Request) { r.Query = nil }, ChunkedBody,
			"POST /%61? HTTP/1.1\r\nHost: example\r\nA: b\r\nB: c\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
		{
			"framing that a filter added is not sent", func(r *exchange.Request) {
				r.Header.Add("Content-Length", "7")
				r.Header.Add("C", "d")
				r.Header.Del("A")
			}, ChunkedBody,
			"POST /%61?q=1 HTTP/1.1\r\nHost: example\r\nB: c\r\nC: d\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, n, err := parseInPieces(head, len(head), Limits{})
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			tt.change(r)
			got := string(AppendRequestHead([]byte("before "), r, tt.framing))
			if diff := cmp.Diff("before "+tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAppendResponseHead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		reason  string
		length  int64
		framing Framing
		want    string
	}{
		{"length", 200, "", 5, LengthBody, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n"},
		{"empty", 200, "", 0, NoBody, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"},
		{"chunked", 404, "", -1, ChunkedBody, "HTTP/1.1 404 Not Found\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"until close", 200, "", 5, UntilClose, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"},
		{"own reason", 200, "Fine by me", 0, NoBody, "HTTP/1.1 200 Fine by me\r\nA: b\r\nContent-Length: 0\r\n\r\n"},
		{"status without a usual reason", 299, "", 0, NoBody, "HTTP/1.1 299 \r\nA: b\r\nContent-Length: 0\r\n\r\n"},
		{"HEAD whose length is known", 200, "", 5, NoBody, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n"},
		{"HEAD whose length is not", 200, "", -1, NoBody, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"},
		{"304", 304, "", 5, NoBody, "HTTP/1.1 304 Not Modified\r\nA: b\r\nContent-Length: 5\r\n\r\n"},
		{"204", 204, "", 0, NoBody, "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"},
		{"100", 100, "", 0, NoBody, "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"},
		{"101", 101, "", 0, NoBody, "HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n"},
		{"a 204 never has framing", 204, "", -1, ChunkedBody, "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &exchange.Response{Status: tt.status, Reason: []byte(tt.reason), ContentLength: tt.length}
			r.Header.Add("content-length", "77")
			r.Header.Add("A", "b")
			r.Header.Add("Transfer-Encoding", "gzip")
			if diff := cmp.Diff(tt.want, string(AppendResponseHead(nil, r, tt.framing))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAppendChunks(t *testing.T) {
	if got := string(AppendChunkHeader([]byte("x"), 0x1f)); got != "x1f\r\n" {
		t.Errorf("got %q", got)
	}
	if got := string(AppendLastChunk(nil, nil)); got != "0\r\n\r\n" {
		t.Errorf("got %q", got)
	}
	var trailer exchange.Header
	trailer.Add("X-Sum", "1")
	trailer.Add("Content-Length", "1")
	if got := string(AppendLastChunk(nil, &trailer)); got != "0\r\nX-Sum: 1\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

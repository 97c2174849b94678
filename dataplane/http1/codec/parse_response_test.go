package codec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// parseResponseInPieces parses head as it arrives in pieces of the given size.
func parseResponseInPieces(
	method exchange.Method, head string, size int, lim Limits,
) (*exchange.Response, ResponseHead, error) {
	r := &exchange.Response{}
	for scanned, end := 0, 0; ; scanned = end {
		end = min(end+size, len(head))
		result, err := ParseResponse(r, method, []byte(head[:end]), scanned, lim)
		if result.Size > 0 || err != nil || end == len(head) {
			return r, result, err
		}
	}
}

func TestParseResponseAccepts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		method  exchange.Method
		head    string
		status  int
		reason  string
		length  int64
		framing Framing
		keep    bool
	}{
		{"RFC 9112 §2.1 with a length", exchange.GET, "HTTP/1.1 200 OK\r\nServer: Apache\r\nContent-Length: 51\r\n\r\n", 200, "OK", 51, LengthBody, true},
		{"length 0", exchange.GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "OK", 0, NoBody, true},
		{"chunked", exchange.GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, "OK", -1, ChunkedBody, true},
		{"until the connection's end", exchange.GET, "HTTP/1.1 200 OK\r\n\r\n", 200, "OK", -1, UntilClose, false},
		{"until the end, whatever Connection says", exchange.GET, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", 200, "OK", -1, UntilClose, false},
		{"close", exchange.GET, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", 200, "OK", 1, LengthBody, false},
		{"HTTP/1.0", exchange.GET, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, "OK", 1, LengthBody, false},
		{"HTTP/1.0 with keep-alive", exchange.GET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", 200, "OK", 1, LengthBody, true},
		{"HTTP/1.0 until its end", exchange.GET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", 200, "OK", -1, UntilClose, false},
		{"empty reason", exchange.GET, "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "", 0, NoBody, true},
		{"no reason and no space", exchange.GET, "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, "", 0, NoBody, true},
		{"reason of words, tabs and other bytes", exchange.GET, "HTTP/1.1 599 a b\tc \xc3\xa9\r\nContent-Length: 0\r\n\r\n", 599, "a b\tc \xc3\xa9", 0, NoBody, true},
		{"HEAD with a length", exchange.HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n", 200, "OK", 51, NoBody, true},
		{"HEAD, chunked", exchange.HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "OK", -1, NoBody, true},
		{"HEAD without framing", exchange.HEAD, "HTTP/1.1 200 OK\r\n\r\n", 200, "OK", -1, NoBody, true},
		{"HEAD and close", exchange.HEAD, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 200, "OK", -1, NoBody, false},
		{"304 with a length", exchange.GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 51\r\n\r\n", 304, "Not Modified", 51, NoBody, true},
		{"304 without framing", exchange.GET, "HTTP/1.1 304 Not Modified\r\n\r\n", 304, "Not Modified", -1, NoBody, true},
		{"204", exchange.GET, "HTTP/1.1 204 No Content\r\n\r\n", 204, "No Content", 0, NoBody, true},
		{"204 with length 0", exchange.GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "No Content", 0, NoBody, true},
		{"204 that announces a body", exchange.GET, "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", 204, "No Content", 0, NoBody, false},
		{"204 that announces chunks", exchange.GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, "No Content", 0, NoBody, false},
		{"205 has ordinary framing", exchange.GET, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 205, "Reset Content", 0, NoBody, true},
		{"100", exchange.POST, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 100, "Continue", 0, NoBody, true},
		{"100 with length 0", exchange.POST, "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", 100, "Continue", 0, NoBody, true},
		{"103", exchange.GET, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 103, "Early Hints", 0, NoBody, true},
		{"101", exchange.GET, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes", 101, "Switching Protocols", 0, NoBody, false},
		{"CONNECT", exchange.CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes", 200, "OK", 0, NoBody, false},
		{"CONNECT refused", exchange.CONNECT, "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nbytes", 403, "Forbidden", 5, LengthBody, true},
		{"request fields mean nothing", exchange.GET, "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\nExpect: x\r\nContent-Length: 1\r\n\r\n", 200, "OK", 1, LengthBody, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := ResponseHead{Size: strings.Index(tt.head, "\r\n\r\n") + 4, Framing: tt.framing, KeepAlive: tt.keep}
			for piece := 1; piece <= len(tt.head); piece++ {
				r, got, err := parseResponseInPieces(tt.method, tt.head, piece, Limits{})
				if err != nil || got != want {
					t.Fatalf("in pieces of %d: got %+v, %v; want %+v", piece, got, err, want)
				}
				if r.Status != tt.status || string(r.Reason) != tt.reason || r.ContentLength != tt.length {
					t.Fatalf("got status %d %q, length %d", r.Status, r.Reason, r.ContentLength)
				}
				if version := "HTTP/1." + tt.head[7:8]; r.Protocol.String() != version {
					t.Fatalf("got %v, want %s", r.Protocol, version)
				}
			}
			for cut := range want.Size {
				_, got, err := parseResponseInPieces(tt.method, tt.head[:cut], max(1, cut), Limits{})
				if got != (ResponseHead{}) || err != nil {
					t.Fatalf("the first %d bytes: got %+v, %v", cut, got, err)
				}
			}
		})
	}
}

func TestParseResponseKeepsFields(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie:b=2 \r\nX_Under_Score: 1\r\nContent-Length: 3\r\n\r\n"
	r, _, err := parseResponseInPieces(exchange.GET, head, len(head), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Set-Cookie: a=1", "set-cookie: b=2", "X_Under_Score: 1", "Content-Length: 3"}
	if diff := cmp.Diff(want, fieldsOf(&r.Header)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseResponseRefuses(t *testing.T) {
	field := func(s string) string { return "HTTP/1.1 200 OK\r\n" + s + "\r\n\r\n" }
	for _, tt := range []struct{ name, head string }{
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"body without a head", "<html>"},
		{"TLS alert", "\x15\x03\x01\x00\x02\x02\x46"},
		{"HTTP/0.9", "<html></html>\r\n\r\n"},
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n"},
		{"HTTP/2's SETTINGS", "\x00\x00\x12\x04\x00\x00\x00\x00\x00"},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"},
		{"no version's point", "HTTP/11 200 OK\r\n\r\n"},
		{"lower case", "http/1.1 200 OK\r\n\r\n"},
		{"empty line before the head", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n"},
		{"tab", "HTTP/1.1\t200 OK\r\n\r\n"},
		{"two digits", "HTTP/1.1 20 OK\r\n\r\n"},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
		{"no digits", "HTTP/1.1 abc OK\r\n\r\n"},
		{"signed status", "HTTP/1.1 +20 OK\r\n\r\n"},
		{"status 099", "HTTP/1.1 099 OK\r\n\r\n"},
		{"status 600", "HTTP/1.1 600 OK\r\n\r\n"},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n"},
		{"DEL in the reason", "HTTP/1.1 200 O\x7fK\r\n\r\n"},
		{"bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"},
		{"bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"},
		{"bare LF behind the status", "HTTP/1.1 200\nContent-Length: 0\r\n\r\n"},
		{"bare LF behind a field", field("A: b\nC: d")},
		{"bare LF at the end", "HTTP/1.1 200 OK\r\nA: b\r\n\n"},
		{"space before the colon", field("A : b")},
		{"folded line", field("A: b\r\n c")},
		{"no name", field(": b")},
		{"no colon", field("A")},
		{"NUL in a value", field("A: b\x00")},
		{"length and coding", field("Content-Length: 3\r\nTransfer-Encoding: chunked")},
		{"two lengths", field("Content-Length: 3\r\nContent-Length: 4")},
		{"two lengths alike", field("Content-Length: 3\r\nContent-Length: 3")},
		{"length as a list", field("Content-Length: 3, 3")},
		{"length with plus", field("Content-Length: +3")},
		{"negative length", field("Content-Length: -1")},
		{"empty length", field("Content-Length:")},
		{"overflowing length", field("Content-Length: 18446744073709551619")},
		{"two codings", field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")},
		{"gzip", field("Transfer-Encoding: gzip")},
		{"gzip, chunked", field("Transfer-Encoding: gzip, chunked")},
		{"identity", field("Transfer-Encoding: identity")},
		{"chunked with a tab", field("Transfer-Encoding:\tchunked")},
		{"coding of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"length and coding of a 204", "HTTP/1.1 204 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"bad length of a 304", "HTTP/1.1 304 OK\r\nContent-Length: x\r\n\r\n"},
		{"100 that announces a body", "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n"},
		{"103 that announces chunks", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"101 that announces a body", "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 3\r\n\r\n"},
		{"129 fields", field(strings.Repeat("A: b\r\n", 128) + "A: b")},
		{"endless status line", "HTTP/1.1 200 " + strings.Repeat("a", 9000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for piece := 1; piece <= len(tt.head); piece += 1 + piece/64 {
				_, got, err := parseResponseInPieces(exchange.GET, tt.head, piece, Limits{})
				if status := refusalStatus(t, err); got != (ResponseHead{}) || status != 502 {
					t.Fatalf("in pieces of %d: got %+v, status %d, want 502", piece, got, status)
				}
			}
		})
	}
}

func TestParseResponseLimitsTheHead(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("v", 300) + "\r\n\r\n"
	_, got, err := parseResponseInPieces(exchange.GET, head, 7, Limits{Bytes: len(head)})
	if err != nil || got.Size != len(head) {
		t.Errorf("at the limit: got %+v, %v", got, err)
	}
	_, _, err = parseResponseInPieces(exchange.GET, head, 7, Limits{Bytes: len(head) - 1})
	if refusalStatus(t, err) != 502 {
		t.Errorf("over the limit: got %v", err)
	}
}

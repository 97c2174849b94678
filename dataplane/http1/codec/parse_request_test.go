package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A request as the tests write it down.
type parsed struct {
	Method, Host, Path, Query    string
	Protocol                     exchange.Protocol
	Length                       int64
	Close, Upgrade, Expect, HasQ bool
	Underscored                  bool
	Fields                       []string
}

func describe(r *exchange.Request) parsed {
	return parsed{
		Method: string(r.MethodName), Host: string(r.Host), Path: string(r.RawPath), Query: string(r.Query),
		Protocol: r.Protocol, Length: r.ContentLength, Close: r.Close, Upgrade: r.Upgrade, Expect: r.Expect,
		HasQ: r.HasQuery, Underscored: r.Header.Underscored(), Fields: fieldsOf(&r.Header),
	}
}

var acceptedRequests = []struct {
	name, head string
	want       parsed
}{
	{
		"RFC 9112 §2.1", "GET /hello.txt HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\nAccept-Language: en, mi\r\n\r\n",
		parsed{
			Method: "GET", Host: "www.example.com", Path: "/hello.txt", Protocol: exchange.HTTP11,
			Fields: []string{"User-Agent: curl/7.64.1", "Host: www.example.com", "Accept-Language: en, mi"},
		},
	},
	{
		"query", "GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
		parsed{Method: "GET", Host: "www.example.org", Path: "/where", Query: "q=now", HasQ: true, Fields: []string{"Host: www.example.org"}},
	},
	{
		"empty query, and a question mark in a query", "GET /a???b HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/a", Query: "??b", HasQ: true, Fields: []string{"Host: a"}},
	},
	{
		"nothing behind the question mark", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", HasQ: true, Fields: []string{"Host: a"}},
	},
	{
		"absolute-form wins over Host", "GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1\r\nHost: other:81\r\n\r\n",
		parsed{Method: "GET", Host: "www.example.org", Path: "/pub/WWW/TheProject.html", Fields: []string{"Host: other:81"}},
	},
	{
		"absolute-form without path", "GET HTTPS://a.example:8443?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "GET", Host: "a.example:8443", Path: "/", Query: "x=1", HasQ: true, Fields: []string{"Host: a"}},
	},
	{
		"absolute-form of HTTP/1.0 without Host", "GET http://a HTTP/1.0\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Protocol: exchange.HTTP10, Close: true, Fields: []string{}},
	},
	{
		"OPTIONS in absolute-form without path, RFC 9112 §3.2.4", "OPTIONS http://www.example.org:8001 HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "OPTIONS", Host: "www.example.org:8001", Path: "*", Fields: []string{"Host: a"}},
	},
	{
		"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "OPTIONS", Host: "a", Path: "*", Fields: []string{"Host: a"}},
	},
	{
		"authority-form", "CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
		parsed{Method: "CONNECT", Host: "www.example.com:80", Fields: []string{"Host: www.example.com"}},
	},
	{
		"any token is a method", "M-SEARCH!#$%&'*+.^_`|~09 / HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "M-SEARCH!#$%&'*+.^_`|~09", Host: "a", Path: "/", Fields: []string{"Host: a"}},
	},
	{
		"a path is left as it is", "GET //a/../%2e;p=1/%zz|\\\"{} HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "//a/../%2e;p=1/%zz|\\\"{}", Fields: []string{"Host: a"}},
	},
	{
		"one empty line before the head", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"Host: a"}},
	},
	{
		"white space around values", "GET / HTTP/1.1\r\nHost:a\r\nA: \t x\ty \t \r\nB:\r\nC: \r\nD:\tdd\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"Host: a", "A: x\ty", "B: ", "C: ", "D: dd"}},
	},
	{
		"bytes above 0x7f in a value", "GET / HTTP/1.1\r\nhOsT: a\r\nA: \x80\xff\xc3\xa9 eight or more\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"hOsT: a", "A: \x80\xff\xc3\xa9 eight or more"}},
	},
	{
		"Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		parsed{Method: "POST", Host: "a", Path: "/", Length: 3, Fields: []string{"Host: a", "Content-Length: 3"}},
	},
	{
		"the largest Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n",
		parsed{Method: "POST", Host: "a", Path: "/", Length: 999999999999999999, Fields: []string{"Host: a", "Content-Length: 999999999999999999"}},
	},
	{
		"chunked, in any case", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:CHUNKED\r\n\r\n",
		parsed{Method: "POST", Host: "a", Path: "/", Length: -1, Fields: []string{"Host: a", "transfer-encoding: CHUNKED"}},
	},
	{
		"names with an underscore say nothing of the message",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 7\r\nX_Forwarded_Proto: https\r\n_: 1\r\nA_: 2\r\nContent-Length: 1\r\n\r\nx",
		parsed{
			Method: "POST", Host: "a", Path: "/", Length: 1, Underscored: true,
			Fields: []string{"Host: a", "Transfer_Encoding: chunked", "Content_Length: 7", "X_Forwarded_Proto: https", "_: 1", "A_: 2", "Content-Length: 1"},
		},
	},
	{
		"Connection: close among others", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE,keep-alive\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Close: true, Fields: []string{"Host: a", "Connection: x , CLOSE,keep-alive"}},
	},
	{
		"HTTP/1.0 ends its connection", "GET / HTTP/1.0\r\n\r\n",
		parsed{Method: "GET", Path: "/", Protocol: exchange.HTTP10, Close: true, Fields: []string{}},
	},
	{
		"HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Protocol: exchange.HTTP10, Fields: []string{"Host: a", "Connection: Keep-Alive"}},
	},
	{
		"HTTP/1.0 with keep-alive and close", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nConnection: close\r\n\r\n",
		parsed{Method: "GET", Path: "/", Protocol: exchange.HTTP10, Close: true, Fields: []string{"Connection: Keep-Alive", "Connection: close"}},
	},
	{
		"upgrade", "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/chat", Upgrade: true, Fields: []string{"Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket"}},
	},
	{
		"Upgrade that Connection does not list", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"Host: a", "Upgrade: websocket"}},
	},
	{
		"Connection: upgrade without Upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"Host: a", "Connection: upgrade"}},
	},
	{
		"upgrade to nothing", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n",
		parsed{Method: "GET", Host: "a", Path: "/", Fields: []string{"Host: a", "Connection: upgrade", "Upgrade: "}},
	},
	{
		"upgrade of HTTP/1.0", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		parsed{Method: "GET", Path: "/", Protocol: exchange.HTTP10, Close: true, Fields: []string{"Connection: upgrade", "Upgrade: x"}},
	},
	{
		"Expect", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
		parsed{Method: "PUT", Host: "a", Path: "/", Length: 1, Expect: true, Fields: []string{"Host: a", "Expect: 100-Continue", "Content-Length: 1"}},
	},
	{
		"Expect with chunks", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
		parsed{Method: "PUT", Host: "a", Path: "/", Length: -1, Expect: true, Fields: []string{"Host: a", "Expect: 100-continue", "Transfer-Encoding: chunked"}},
	},
	{
		"Expect without a body is dropped", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
		parsed{Method: "PUT", Host: "a", Path: "/", Fields: []string{"Host: a", "Content-Length: 0"}},
	},
	{
		"Expect of HTTP/1.0 is dropped", "PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
		parsed{Method: "PUT", Host: "a", Path: "/", Protocol: exchange.HTTP10, Close: true, Length: 1, Fields: []string{"Host: a", "Content-Length: 1"}},
	},
}

func TestParseRequestAccepts(t *testing.T) {
	for _, tt := range acceptedRequests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want.Protocol == 0 {
				want.Protocol = exchange.HTTP11
			}
			size := strings.Index(tt.head, "\r\n\r\n") + 4
			for piece := 1; piece <= len(tt.head); piece++ {
				r, n, err := parseInPieces(tt.head, piece, Limits{})
				if err != nil || n != size {
					t.Fatalf("in pieces of %d: got %d, %v; want %d", piece, n, err, size)
				}
				if diff := cmp.Diff(want, describe(r)); diff != "" {
					t.Fatalf("in pieces of %d (-want +got):\n%s", piece, diff)
				}
				if m := exchange.ParseMethod(want.Method); r.Method != m {
					t.Errorf("Method is %v, want %v", r.Method, m)
				}
			}
			// A head that lacks its last byte is neither complete nor wrong.
			for cut := range size {
				if _, n, err := parseInPieces(tt.head[:cut], max(1, cut), Limits{}); n != 0 || err != nil {
					t.Fatalf("the first %d bytes: got %d, %v", cut, n, err)
				}
			}
		})
	}
}

// line puts s behind the request line and Host of a request that is complete but for it.
func line(s string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + s + "\r\n\r\n" }

// host makes a request for that Host.
func host(s string) string { return "GET / HTTP/1.1\r\nHost: " + s + "\r\n\r\n" }

func target(s string) string { return "GET " + s + " HTTP/1.1\r\nHost: a\r\n\r\n" }

var refusedRequests = []struct {
	name   string
	status int
	head   string
}{
	// Versions and the request line.
	{"HTTP/0.9", 400, "GET /\r\n\r\n"},
	{"HTTP/0.9 by name", 400, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"},
	{"HTTP/2.0", 400, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
	{"HTTP/2's preface", 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"HTTP/3.0", 505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"},
	{"HTTP/1.2", 505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
	{"HTTP/1.10", 400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
	{"HTTP/01.1", 400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n"},
	{"HTTP/1.1x", 400, "GET / HTTP/1.1x\r\nHost: a\r\n\r\n"},
	{"http/1.1", 400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
	{"HTTP/1,1", 400, "GET / HTTP/1,1\r\nHost: a\r\n\r\n"},
	{"HTTP /1.1", 400, "GET / HTTP /1.1\r\nHost: a\r\n\r\n"},
	{"space behind the version", 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
	{"space before the method", 400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"empty method", 400, " / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"no method", 400, "/ HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"no target", 400, "GET HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two spaces", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two spaces before the version", 400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"tab for space", 400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"tab in the target", 400, target("/a\tb")},
	{"method of 33 bytes", 400, strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"method is no token", 400, "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"method has a NUL", 400, "G\x00ET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two empty lines", 400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"LF before the head", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"CR before the head", 400, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"TLS ClientHello", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	{"bare LF behind the request line", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n"},
	{"bare CR behind the request line", 400, "GET / HTTP/1.1\rHost: a\r\n\r\n"},
	{"CR and another byte behind the request line", 400, "GET / HTTP/1.1\rXHost: a\r\n\r\n"},
	{"another byte and LF behind the request line", 400, "GET / HTTP/1.1X\nHost: a\r\n\r\n"},
	{"bare LF in the target", 400, "GET /\nHost: a\r\n\r\n"},

	// Targets.
	{"fragment", 400, target("/a#b")},
	{"fragment in the query", 400, target("/a?b#c")},
	{"NUL in the target", 400, target("/a\x00b")},
	{"DEL in the target", 400, target("/a\x7fb")},
	{"byte above 0x7f in the target", 400, target("/\xc3\xa9")},
	{"byte above 0x7f in the query", 400, target("/?\xff")},
	{"target without a form", 400, target("a")},
	{"authority-form with GET", 400, target("a:80")},
	{"asterisk-form with GET", 400, target("*")},
	{"asterisk and more", 400, "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"asterisk with a query", 400, "OPTIONS *?x HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"query alone", 400, target("?x")},
	{"other scheme", 400, target("ftp://a/")},
	{"scheme without slashes", 400, target("http:a/")},
	{"no scheme", 400, target("://a/")},
	{"absolute-form without authority", 400, target("http:///a")},
	{"absolute-form with a user", 400, target("http://user:pw@a/")},
	{"absolute-form with a bad authority", 400, target("http://a:b/")},
	{"backslash in the authority", 400, target(`http://a\b/`)},
	{"absolute-form without Host", 400, "GET http://a/ HTTP/1.1\r\n\r\n"},
	{"absolute-form with a bad Host", 400, "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"},
	{"absolute-form with two Hosts", 400, "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
	{"CONNECT to a path", 400, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"CONNECT with a query", 400, "CONNECT a:80?x HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"CONNECT to a URL", 400, "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"},

	// Host.
	{"no Host", 400, "GET / HTTP/1.1\r\n\r\n"},
	{"two Hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{"two Hosts alike", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"},
	{"empty Host", 400, host("")},
	{"empty Host of HTTP/1.0", 400, "GET / HTTP/1.0\r\nHost:\r\n\r\n"},
	{"user in Host", 400, host("user@a")},
	{"path in Host", 400, host("a/b")},
	{"query in Host", 400, host("a?b")},
	{"space in Host", 400, host("a b")},
	{"list in Host", 400, host("a, b")},
	{"percent in Host", 400, host("%61")},

	// Field lines.
	{"space before the colon", 400, line("A : b")},
	{"tab before the colon", 400, line("A\t: b")},
	{"space in the name", 400, line("A b: c")},
	{"no colon", 400, line("Ab")},
	{"no name", 400, line(": b")},
	{"name with a NUL", 400, line("A\x00: b")},
	{"name with a byte above 0x7f", 400, line("\xc3\xa9: b")},
	{"folded line", 400, line("A: b\r\n c")},
	{"folded line with tab", 400, line("A: b\r\n\tc")},
	{"white space before the first field", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
	{"line of white space", 400, line("A: b\r\n ")},
	{"NUL in a value", 400, line("A: b\x00c")},
	{"NUL at a value's end", 400, line("A: b\x00")},
	{"vertical tab in a value", 400, line("A: b\vc")},
	{"escape in a value", 400, line("A: \x1b[31m and more text")},
	{"DEL in a value", 400, line("A: b\x7f")},
	{"DEL behind a tab", 400, line("A: b\tcdefghijk\x7f")},
	{"bare CR in a value", 400, line("A: b\rc")},
	{"bare CR before CR LF", 400, line("A: b\r")},
	{"bare LF in a value", 400, line("A: b\nC: d")},
	{"bare LF at the end", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
	{"CR and another byte at the end", 400, "GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n"},
	{"bare LFs only", 400, "GET / HTTP/1.1\nHost: a\n\n"},
	{"LF CR", 400, "GET / HTTP/1.1\n\rHost: a\n\r\n\r"},
	{"name of 1025 bytes", 431, line(strings.Repeat("n", 1025) + ": b")},
	{"129 fields", 431, line(strings.Repeat("A: b\r\n", 127) + "A: b")},
	{"129 fields, dropped ones", 431, line(strings.Repeat("a_b: c\r\n", 128))},

	// Content-Length.
	{"length with plus", 400, line("Content-Length: +3")},
	{"length with minus", 400, line("Content-Length: -0")},
	{"length with underscore", 400, line("Content-Length: 1_0")},
	{"length in hexadecimal", 400, line("Content-Length: 0x3")},
	{"length as a list", 400, line("Content-Length: 3, 4")},
	{"length as a list of equals", 400, line("Content-Length: 3, 3")},
	{"length with a fraction", 400, line("Content-Length: 3.0")},
	{"empty length", 400, line("Content-Length:")},
	{"length of white space", 400, line("Content-Length: \t ")},
	{"overflowing length", 400, line("Content-Length: 18446744073709551619")},
	{"overflowing signed length", 400, line("Content-Length: 9223372036854775808")},
	{"19 digits", 400, line("Content-Length: 1000000000000000000")},
	{"two lengths", 400, line("Content-Length: 3\r\nContent-Length: 4")},
	{"two lengths alike", 400, line("Content-Length: 3\r\ncontent-length: 3")},
	{"length with vertical tab", 400, line("Content-Length:\v3")},
	{"space before the length's colon", 400, line("Content-Length : 3")},

	// Transfer-Encoding.
	{"length and coding", 400, line("Content-Length: 3\r\nTransfer-Encoding: chunked")},
	{"coding and length", 400, line("Transfer-Encoding: chunked\r\nContent-Length: 3")},
	{"length 0 and coding", 400, line("Content-Length: 0\r\nTransfer-Encoding: chunked")},
	{"coding of HTTP/1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{"coding and length of HTTP/1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"},
	{"two codings", 400, line("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")},
	{"chunked and identity lines", 400, line("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")},
	{"identity", 400, line("Transfer-Encoding: identity")},
	{"identity, chunked", 400, line("Transfer-Encoding: identity, chunked")},
	{"empty coding", 400, line("Transfer-Encoding:")},
	{"comma chunked", 400, line("Transfer-Encoding: ,chunked")},
	{"chunked comma", 400, line("Transfer-Encoding: chunked,")},
	{"chunked twice", 400, line("Transfer-Encoding: chunked, chunked")},
	{"chunked first", 400, line("Transfer-Encoding: chunked, gzip")},
	{"chunked with a parameter", 400, line("Transfer-Encoding: chunked;a=b")},
	{"chunked in quotes", 400, line("Transfer-Encoding: \"chunked\"")},
	{"chunked and a word", 400, line("Transfer-Encoding: chunked x")},
	{"tab before chunked", 400, line("Transfer-Encoding:\tchunked")},
	{"space and tab before chunked", 400, line("Transfer-Encoding: \tchunked")},
	{"tab behind chunked", 400, line("Transfer-Encoding: chunked\t")},
	{"space behind chunked", 400, line("Transfer-Encoding: chunked ")},
	{"vertical tab before chunked", 400, line("Transfer-Encoding: \vchunked")},
	{"vertical tab behind chunked", 400, line("Transfer-Encoding: chunked\v")},
	{"NUL behind chunked", 400, line("Transfer-Encoding: chunked\x00")},
	{"byte above 0x7f in chunked", 400, line("Transfer-Encoding: chun\xe2\x84\xaaed")},
	{"space before the coding's colon", 400, line("Transfer-Encoding : chunked")},
	{"folded coding", 400, line("Transfer-Encoding:\r\n chunked")},
	{"unknown coding", 501, line("Transfer-Encoding: xchunked")},
	{"gzip", 501, line("Transfer-Encoding: gzip")},
	{"gzip, chunked", 501, line("Transfer-Encoding: gzip, chunked")},

	// Expect.
	{"other expectation", 417, line("Expect: 200-ok\r\nContent-Length: 1")},
	{"two expectations", 417, line("Expect: 100-continue, x\r\nContent-Length: 1")},
	{"two Expects", 417, line("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1")},
	{"empty expectation", 417, line("Expect:\r\nContent-Length: 1")},
}

func TestParseRequestRefuses(t *testing.T) {
	for _, tt := range refusedRequests {
		t.Run(tt.name, func(t *testing.T) {
			for piece := 1; piece <= len(tt.head); piece++ {
				_, n, err := parseInPieces(tt.head, piece, Limits{})
				if got := refusalStatus(t, err); n != 0 || got != tt.status {
					t.Fatalf("in pieces of %d: got %d, status %d (%v); want status %d", piece, n, got, err, tt.status)
				}
			}
		})
	}
}

// Every byte that is not allowed somewhere is refused there, and every other is not.
func TestParseRequestBytes(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for i := range 256 {
		c := string([]byte{byte(i)})
		isToken := strings.Contains(token, c)
		visible := i > ' ' && i < 0x7f
		for place, tt := range map[string]struct {
			head string
			ok   bool
		}{
			"method":   {"A" + c + "B / HTTP/1.1\r\nHost: a\r\n\r\n", isToken},
			"path":     {target("/a" + c + "b"), visible && c != "#"},
			"query":    {target("/a?" + c + "b"), visible && c != "#"},
			"name":     {line("A" + c + "B: x"), isToken || c == ":"},
			"value":    {line("A: abcdefghijklm" + c + "nopqr"), i >= ' ' && i != 0x7f || i == '\t'},
			"tail":     {line("A: " + c), i >= ' ' && i != 0x7f || i == '\t'},
			"hostname": {host("a" + c + "b"), isToken && !strings.Contains("!#$%&'*+^`|~", c)},
		} {
			_, n, err := parseInPieces(tt.head, len(tt.head), Limits{})
			if ok := err == nil && n == len(tt.head); ok != tt.ok {
				t.Errorf("%q in the %s: accepted is %v, want %v", c, place, ok, tt.ok)
			}
		}
	}
}

func TestParseRequestLimits(t *testing.T) {
	lim := Limits{RequestLine: 70, Bytes: 300, Fields: 4} // no powers of two: those are looked at anyway
	path := func(n int) string { return "GET /" + strings.Repeat("a", n-len("GET / HTTP/1.1")) + " HTTP/1.1\r\n" }
	filled := func(n int) string {
		const rest = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n"
		return strings.Replace(rest, "A: ", "A: "+strings.Repeat("v", n-len(rest)), 1)
	}
	for _, tt := range []struct {
		name, head string
		status     int // 0: accepted
	}{
		{"request line at the limit", path(70) + "Host: a\r\n\r\n", 0},
		{"request line over the limit", path(71) + "Host: a\r\n\r\n", 414},
		{"request line behind an empty line", "\r\n" + path(70) + "Host: a\r\n\r\n", 0},
		{"long request line behind an empty line", "\r\n" + path(71) + "Host: a\r\n\r\n", 414},
		{"endless target", "GET /" + strings.Repeat("a", 400), 414},
		{"endless target with a fault behind the limit", "GET /" + strings.Repeat("a", 300) + "\x00", 414},
		{"endless method", strings.Repeat("a", 400), 400},
		{"head at the limit", filled(300), 0},
		{"head over the limit", filled(301), 431},
		{"endless value", filled(300)[:200] + strings.Repeat("v", 200), 431},
		{"endless name", "GET / HTTP/1.1\r\n" + strings.Repeat("n", 400), 431},
		{"fields at the limit", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", 0},
		{"fields over the limit", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for piece := 1; piece <= len(tt.head); piece++ {
				_, n, err := parseInPieces(tt.head, piece, lim)
				if got := refusalStatus(t, err); got != tt.status {
					t.Fatalf("in pieces of %d: got status %d (%v), want %d", piece, got, err, tt.status)
				}
				if tt.status == 0 && n != len(tt.head) {
					t.Fatalf("in pieces of %d: got a head of %d bytes, want %d", piece, n, len(tt.head))
				}
			}
		})
	}
}

// Where the head may be shorter than its first line, the line is what is too long.
func TestParseLimitsCross(t *testing.T) {
	head, lim := "GET /"+strings.Repeat("a", 300), Limits{RequestLine: 1000, Bytes: 200}
	for _, piece := range []int{1, 7, 500} {
		if _, _, err := parseInPieces(head, piece, lim); refusalStatus(t, err) != 414 {
			t.Errorf("request in pieces of %d: got %v", piece, err)
		}
		_, _, err := parseResponseInPieces(exchange.GET, "HTTP/1.1 200 "+head, piece, lim)
		if refusalStatus(t, err) != 502 {
			t.Errorf("response in pieces of %d: got %v", piece, err)
		}
	}
}

// What can never become a request is refused before its head is complete.
func TestParseRequestRefusesEarly(t *testing.T) {
	for _, tt := range []struct {
		head string
		at   int // the latest byte
	}{
		{"\x16\x03\x01", 1},
		{"GET / HTTP/1.1\n", 15},
		{"GET / FTP/1.1\r\n", 8},
		{"GET / HTTP/1.1\r\nHost: a\nA: b", 24},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00" + strings.Repeat("x", 64), 64},
		{"GET /" + strings.Repeat("x", 200), 102},
		{"\r\nGET /" + strings.Repeat("x", 200), 104},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 400), 300},
	} {
		r := &exchange.Request{}
		for end := 1; ; end++ {
			if _, err := ParseRequest(r, []byte(tt.head[:end]), end-1, Limits{RequestLine: 100, Bytes: 300}); err != nil {
				break
			}
			if end >= tt.at {
				t.Errorf("%q was not refused within %d bytes", tt.head, tt.at)
				break
			}
		}
	}
}

// A client that sends byte by byte must not cost more than a few passes over its head.
func TestParseRequestIsLinear(t *testing.T) {
	head := []byte("GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("v", 60000) + "\r\n\r\n")
	lim := Limits{}.WithDefaults()
	parses := 0
	for end := 1; end <= len(head); end++ {
		if worthParsing(head[:end], end-1, &lim) {
			parses++
		}
	}
	if parses > 40 {
		t.Errorf("a head of %d bytes is parsed %d times", len(head), parses)
	}
	if !worthParsing(head, len(head)-1, &lim) {
		t.Error("the complete head is not parsed")
	}
}

// Slices of a request must not be growable into the bytes behind them.
func TestParseRequestSlicesAreCapped(t *testing.T) {
	head := []byte("GET http://b:1/a?q HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n")
	before := string(head)
	r := &exchange.Request{}
	if _, err := ParseRequest(r, head, 0, Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{r.MethodName, r.Host, r.RawPath, r.Query, r.Header.Value(exchange.Host)} {
		_ = append(s, '#')
	}
	if string(head) != before {
		t.Errorf("append reached the buffer: %q", head)
	}
}

func TestHeadErrorNamesItself(t *testing.T) {
	_, err := ParseRequest(&exchange.Request{}, []byte("\x00"), 0, Limits{})
	if got, want := fmt.Sprint(err), "http1: "+errMethod.request.Detail; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

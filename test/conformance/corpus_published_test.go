package conformance

import "strings"

// publishedRows are cases that others try their parsers with, by the bytes that they send, and what RFC 9110 and RFC 9112 have
// a strict proxy make of them: the examples of RFC 9112, the requests of llhttp's tests (Node.js), and those of net/http's.
// What of them the other files hold already is left out.
func publishedRows() []row {
	return append(append(exampleRows(), parserRows()...), standardRows()...)
}

// exampleRows are the messages that RFC 9112 shows.
func exampleRows() (rows []row) {
	add := func(name, send string, want verdict) {
		rows = append(rows, one(published, "RFC 9112 "+name, send, want))
	}
	add("§2.1", head("GET /hello.txt HTTP/1.1", "User-Agent: curl/7.64.1", "Host: www.example.com", "Accept-Language: en, mi"),
		passes(received("GET /hello.txt", "", "User-Agent: curl/7.64.1", "Accept-Language: en, mi").at("www.example.com")))
	add("§3.2.1", head("GET /where?q=now HTTP/1.1", "Host: www.example.org"), passes(received("GET /where?q=now", "").at("www.example.org")))
	add("§3.2.2", head("GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1", "Host: www.example.org"),
		passes(received("GET /pub/WWW/TheProject.html", "").at("www.example.org")))
	add("§3.2.3", head("CONNECT www.example.com:80 HTTP/1.1", "Host: www.example.com"), refused("400|405|501"))
	add("§3.2.4, asterisk", head("OPTIONS * HTTP/1.1", "Host: www.example.org:8001"), passes(received("OPTIONS *", "").at("www.example.org:8001")))
	add("§3.2.4, absolute", head("OPTIONS http://www.example.org:8001 HTTP/1.1", "Host: x.example"), passes(received("OPTIONS *", "").at("www.example.org:8001")))
	add("§3.3, a path that is no absolute URI", head("GET /pub/WWW/TheProject.html HTTP/1.1", "Host: www.example.org:8080"),
		passes(received("GET /pub/WWW/TheProject.html", "").at("www.example.org:8080")))
	add("§5.1, space in front of the colon", head("GET /x HTTP/1.1", "Host: a.example", "Accept : */*"), refused("400"))
	add("§5.2, obs-fold", head("GET /x HTTP/1.1", "Host: a.example", "Accept: text/html,", " text/plain"), refused("400"))
	add("§6.1, gzip and chunked", post("0\r\n\r\n"+smuggled, "Transfer-Encoding: gzip, chunked"), refused("400|501"))
	add("§6.3, the last coding is not chunked", post("0\r\n\r\n"+smuggled, "Transfer-Encoding: chunked, gzip"), refused("400|501"))
	add("§6.3, one length as a list", post("abc"+smuggled, "Content-Length: 42, 42"), refused("400"))
	add("§7.1.1, an extension nobody knows", chunked("3;unknown=\"v\"\r\nabc\r\n0;last\r\n\r\n"), passes(received("POST /p", "abc")))
	add("§7.4, TE and what it lists", head("GET /x HTTP/1.1", "Host: a.example", "Connection: TE", "TE: trailers, deflate;q=0.5"), passes(received("GET /x", "", "-TE", "-Connection")))
	add("§9.6, close", head("GET /x HTTP/1.1", "Host: a.example", "Connection: close"), passes(received("GET /x", "", "-Connection")).then(closes))
	add("§11.2, a request in the body of another", post("GET /smuggled HTTP/1.1\r\nX: y", "Content-Length: 28"), passes(received("POST /p", "GET /smuggled HTTP/1.1\r\nX: y")))
	return rows
}

// parserRows are requests of llhttp's tests.
func parserRows() (rows []row) {
	add := func(name, send string, want verdict) {
		rows = append(rows, one(published, "llhttp, "+name, send, want))
	}
	bad := func(name, send string) { add(name, send, refused("400|405|501|505")) }
	// Protocols that borrow the form.
	bad("ICE and GET", head("GET /music/sweet/music ICE/1.0", "Host: example.com"))
	bad("nearly ICE", head("GET /music/sweet/music IHTTP/1.0", "Host: example.com"))
	bad("RTSP and PUT", head("PUT /music/sweet/music RTSP/1.0", "Host: example.com"))
	bad("a version of five", head("GET / HTTP/5.6", "Host: example.com"))
	bad("fields of a request without a version", head("GET /", "Host: example.com"))
	bad("space in the target", head("GET /foo bar/ HTTP/1.1", "Host: example.com"))
	bad("UTF-8 in the target", head("GET /δ¶/δt/pope?q=1#narf HTTP/1.1", "Host: github.com"))
	bad("fragment", head("GET /forums/1/topics/2375?page=1#posts-17408 HTTP/1.1", "Host: example.com"))
	bad("user and password in the target", head("GET http://a%12:b!&*$@hypnotoad.org:1234/toto HTTP/1.1", "Host: hypnotoad.org"))
	bad("space behind the first line", head("GET / HTTP/1.1", " Host: foo"))
	// Lines.
	bad("fields parted by CR", head("GET / HTTP/1.1", "Host: a", "Foo: 1\rBar: 2"))
	bad("fields parted by LF", head("POST / HTTP/1.1", "Host: localhost:5000", "x:x\nTransfer-Encoding: chunked")+"1\r\nA\r\n0\r\n\r\n")
	bad("fields parted by CR and a letter", "GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\rZGET /evil: HTTP/1.1\r\nHost: a\r\n\r\n")
	bad("empty field and CR", head("POST / HTTP/1.1", "Connection: Close", "Host: localhost:5000", "x:\rTransfer-Encoding: chunked")+"1\r\nA\r\n0\r\n\r\n")
	bad("empty field and LF", head("POST / HTTP/1.1", "Host: localhost:5000", "x:\nTransfer-Encoding: chunked")+"1\r\nA\r\n0\r\n\r\n")
	bad("at sign in a name", head("GET / HTTP/1.1", "Host: a", "Fo@: Failure"))
	bad("control character in a name", head("GET / HTTP/1.1", "Host: a", "Foo\x01\test: Bar"))
	bad("no name", head("GET / HTTP/1.1", "Host: a", ": Bar"))
	bad("folded name", head("GET / HTTP/1.1", "Host: a", "name", " : value"))
	bad("broken Connection", head("GET / HTTP/1.1", "Host: www.example.com", "Connection\r\x1b\x35\xd5eep-Alive", "Accept-Encoding: gzip"))
	bad("broken name", head("GET / HTTP/1.1", "Host: www.example.com", "X-Some-Header\r\x1b\x35\xd5eep-Alive", "Accept-Encoding: gzip"))
	bad("a length behind LF", head("GET / HTTP/1.1", "Host: localhost", "Dummy: x\nContent-Length: 23")+"GET / HTTP/1.1\r\nDummy: GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n")
	bad("spaces in front of a length", head("POST /hello HTTP/1.1", "Host: localhost", "Foo: bar", " Content-Length: 38")+"GET /bye HTTP/1.1\r\nHost: localhost\r\n\r\n")
	bad("nothing but LF", strings.ReplaceAll(head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")+"1\r\nA\r\n0\r\n\r\n", "\r\n", "\n"))
	bad("a long fold", head("GET / HTTP/1.1", "Host: a", "Line1:   abc", "\tdef", " ghi", "\t\tjkl", "  mno ", "\t \tqrs", "Line2: \t line2\t"))
	bad("Connection that is folded", head("GET /demo HTTP/1.1", "Host: example.com", "Connection: Something,", " Upgrade, ,Keep-Alive", "Upgrade: WebSocket")+"Hot diggity dogg")
	bad("a certificate in lines", head("GET / HTTP/1.1", "Host: a", "X-SSL-Nonsense:   -----BEGIN CERTIFICATE-----", "\tMIIFbTCCBFWgAwIBAgICH4cwDQYJKoZIhvcNAQEFBQAwcDELMAkGA1UEBhMCVUsx", "\t-----END CERTIFICATE-----"))
	bad("no host", head("OPTIONS /url HTTP/1.1", "Header1: Value1", "Header2:\t Value2"))
	bad("no field", head("GET /get_no_headers_no_body/world HTTP/1.1"))
	bad("a host with a sign in it", head("GET /test HTTP/1.1", "User-Agent: curl/7.18.0", "Host: 0.0.0.0=5000", "Accept: */*"))
	// Lengths and codings.
	bad("an empty coding and a length", head("POST /first HTTP/1.1", "Host: a", "Transfer-Encoding:", "Content-Length: 5")+"hello")
	bad("three empty codings behind a length", head("POST / HTTP/1.1", "Host: foo", "Content-Length: 10", "Transfer-Encoding:", "Transfer-Encoding:", "Transfer-Encoding:")+"2\r\nAA\r\n0\r\n")
	bad("pigeons", head("PUT /url HTTP/1.1", "Host: a", "Transfer-Encoding: pigeons"))
	bad("identity and a length", head("POST /w?q=search HTTP/1.1", "Host: a", "Accept: */*", "Transfer-Encoding: identity", "Content-Length: 5")+"World")
	bad("a length and identity", head("PUT /url HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: identity"))
	bad("chunked in front of deflate", head("POST /w HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, deflate")+"World")
	bad("chunked and deflate in two lines", head("POST /w HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: deflate")+"World")
	bad("deflate and chunked", head("POST /w HTTP/1.1", "Host: a", "Transfer-Encoding: deflate, chunked")+"5\r\nWorld\r\n0\r\n\r\n")
	bad("deflate and chunked in two lines", head("POST /w HTTP/1.1", "Host: a", "Transfer-Encoding: deflate", "Transfer-Encoding: chunked")+"5\r\nWorld\r\n0\r\n\r\n")
	bad("chunkedchunked", head("POST /w HTTP/1.1", "Host: a", "Transfer-Encoding: chunkedchunked")+"5\r\nWorld\r\n0\r\n\r\n")
	bad("a fold behind chunked", head("PUT /url HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "  abc")+"5\r\nWorld\r\n0\r\n\r\n")
	bad("space behind chunked", head("GET / HTTP/1.1", "Host: a", "Connection: close ", "Transfer-Encoding: chunked ")+"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\nGET / HTTP/1.1 \r\nHost: a\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
	bad("a length beyond any", head("PUT /url HTTP/1.1", "Host: a", "Content-Length: 1000000000000000000000"))
	bad("two lengths", head("PUT /url HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 2"))
	bad("spaces within a length", head("POST / HTTP/1.1", "Host: a", "Content-Length: 13 37"))
	bad("CR for the dash of Content-Length", head("PUT /url HTTP/1.1", "Host: a", "Content\rLength: 003")+"abc")
	bad("a list that is no list of one", head("M-SEARCH * HTTP/1.1", "HOST: 239.255.255.250:1900", `MAN: "ssdp:discover"`, `ST: "ssdp:all"`))
	bad("CONNECT", head("CONNECT 0-home0.netscape.com:443 HTTP/1.0", "User-agent: Mozilla/1.1N", "Proxy-authorization: basic aGVsbG86d29ybGQ=")+"some data\r\nand yet even more data")
	bad("CONNECT with a body", head("CONNECT foo.bar.com:443 HTTP/1.0", "User-agent: Mozilla/1.1N", "Content-Length: 10")+"blarfcicle\"")
	bad("CONNECT to a name with an underscore", head("CONNECT home_0.netscape.com:443 HTTP/1.0", "User-agent: Mozilla/1.1N"))
	// Chunks.
	for _, c := range []struct{ name, body string }{
		{"no last chunk", "3\r\nfoo\r\n\r\n"},
		{"a size with spaces and LF", "3 \n  \r\nfoo\r\n"},
		{"no semicolon in front of an extension", "2 erfrferferf\r\naa\r\n0 rrrr\r\n\r\n"},
		{"a size line ended by CR CR", "5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n" + smuggled},
		{"no end behind the data", "5\r\nABCDE0\r\n\r\n"},
		{"space behind the size", "a \r\n0123456789\r\n0\r\n\r\n"},
	} {
		add(c.name, chunked(c.body), brokenBody("400"))
	}
	for _, c := range []struct{ name, body, want string }{
		{"a sentence", "1e\r\nall your base are belong to us\r\n0\r\n\r\n", "all your base are belong to us"},
		{"three zeros at the end", "5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", "hello world"},
		{"extensions", "5;ilovew3;somuchlove=aretheseparametersfor;another=withvalue\r\nhello\r\n6;blahblah;blah\r\n world\r\n0\r\n\r\n", "hello world"},
		{"quoted extensions", "5;ilovew3=\"I \\\"love\\\"; \\\\extensions\\\\\";somuchlove=\"aretheseparametersfor\";blah;foo=bar\r\nhello\r\n6;blahblah;blah\r\n world\r\n0\r\n\r\n", "hello world"},
		{"trailers that may not be", "5\r\nhello\r\n6\r\n world\r\n0\r\nVary: *\r\nContent-Type: text/plain\r\n\r\n", "hello world"},
	} {
		add(c.name, chunked(c.body), passes(received("POST /p", c.want, "Transfer-Encoding: chunked", "-Content-Length")))
	}
	return append(rows, plainRows()...)
}

// plainRows are requests of llhttp's tests that are right.
func plainRows() (rows []row) {
	add := func(name, send string, want verdict) {
		rows = append(rows, one(published, "llhttp, "+name, send, want))
	}
	for _, method := range []string{
		"REPORT", "PURGE", "SEARCH", "LINK", "UNLINK", "SOURCE", "M-SEARCH", "MKCOL", "MKCOLA", "PROPFIND", "PROPPATCH", "COPY", "MOVE", "LOCK", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "MKACTIVITY",
		"CHECKOUT", "MERGE", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "QUERY", "ANNOUNCE", "DESCRIBE", "PAUSE", "PLAY", "RECORD", "REDIRECT", "SETUP", "TEARDOWN", "FLUSH",
	} {
		add("method "+method, head(method+" /test HTTP/1.1", "Host: a.example"), passes(received(method+" /test", "")))
	}
	add("PATCH", head("PATCH /file.txt HTTP/1.1", "Host: www.example.com", "Content-Type: application/example", `If-Match: "e0023aa4e"`, "Content-Length: 10")+"cccccccccc",
		passes(received("PATCH /file.txt", "cccccccccc", `If-Match: "e0023aa4e"`, "Content-Length: 10")))
	add("fields of Link", head("LINK /images/my_dog.jpg HTTP/1.1", "Host: example.com", `Link: <http://example.com/profiles/joe>; rel="tag"`), passes(received("LINK /images/my_dog.jpg", "", `Link: <http://example.com/profiles/joe>; rel="tag"`)))
	add("tab in front of a value", head("OPTIONS /url HTTP/1.1", "Host: a", "Header1: Value1", "Header2:\t Value2"), passes(received("OPTIONS /url", "", "Header1: Value1", "Header2: Value2")))
	add("plus signs", head("GET /dumbpack HTTP/1.1", "Host: a", "aaaaaaaaaaaaa:++++++++++"), passes(received("GET /dumbpack", "", "aaaaaaaaaaaaa: ++++++++++")))
	add("ApacheBench", head("GET /test HTTP/1.0", "Host: 0.0.0.0:5000", "User-Agent: ApacheBench/2.3", "Accept: */*"), passes(received("GET /test", "").at("0.0.0.0:5000")).then(closes))
	add("Firefox", head("GET /favicon.ico HTTP/1.1", "Host: 0.0.0.0:5000", "Accept-Charset: ISO-8859-1,utf-8;q=0.7,*;q=0.7", "Keep-Alive: 300", "Connection: keep-alive"),
		passes(received("GET /favicon.ico", "", "-Keep-Alive", "-Connection", "Accept-Charset: ISO-8859-1,utf-8;q=0.7,*;q=0.7")))
	add("an umlaut in a value", head("GET / HTTP/1.1", "Host: a", "Test: Düsseldorf"), passes(received("GET /", "", "Test: Düsseldorf")))
	add("byte 255 in a value", head("OPTIONS /url HTTP/1.1", "Host: a", "Header2: \xffValue2"), passes(received("OPTIONS /url", "", "Header2: \xffValue2")))
	add("zeros in a length, and fields behind it", head("PUT /url HTTP/1.1", "Host: a", "Content-Length: 003", "Ohai: world")+"abc", passes(received("PUT /url", "abc", "Content-Length: 3", "Ohai: world")))
	add("a length in another case, on HTTP/1.0", head("GET /get_funky_content_length_body_hello HTTP/1.0", "Host: a", "conTENT-Length: 5")+"HELLO",
		passes(received("GET /get_funky_content_length_body_hello", "HELLO", "Content-Length: 5")).then(closes))
	add("spaces around a length", head("POST / HTTP/1.1", "Host: a", "Content-Length:  3 ")+"abc", passes(received("POST /", "abc", "Content-Length: 3")))
	add("two questions", head("GET /test.cgi?foo=bar?baz HTTP/1.1", "Host: a"), passes(received("GET /test.cgi?foo=bar?baz", "")))
	add("a bar in the query", head("GET /test.cgi?query=| HTTP/1.1", "Host: a"), passes(received("GET /test.cgi?query=|", "")))
	add("a host ended by a query", head("GET http://hypnotoad.org?hail=all HTTP/1.1", "Host: a"), passes(received("GET /?hail=all", "").at("hypnotoad.org")))
	add("a port ended by a query", head("GET http://hypnotoad.org:1234?hail=all HTTP/1.1", "Host: a"), passes(received("GET /?hail=all", "").at("hypnotoad.org:1234")))
	add("a port ended by a space", head("GET http://hypnotoad.org:1234 HTTP/1.1", "Host: a"), passes(received("GET /", "").at("hypnotoad.org:1234")))
	add("quotes", head(`GET /with_"lovely"_quotes HTTP/1.1`, "Host: a"), passes(received("GET /with_%22lovely%22_quotes", "")))
	add("many options, one of them close", head("PUT /url HTTP/1.1", "Host: a", "Connection: close, token, token, keep-alive"), passes(received("PUT /url", "", "Content-Length: 0", "-Connection")).then(closes))
	form := post("q=42", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 4")
	add("an empty line behind a form", form+"\r\n"+get("/a"), passes(received("POST /p", "q=42"), received("GET /a", "")))
	add("a request behind a form that closes", post("q=42", "Content-Length: 4", "Connection: close")+"\r\n"+smuggled, passes(received("POST /p", "q=42")).then(severed))
	add("two that are kept alive", strings.Repeat(head("PUT /url HTTP/1.1", "Host: a", "Connection: keep-alive"), 2), passes(received("PUT /url", ""), received("PUT /url", "")))
	add("another behind HTTP/1.0", head("PUT /url HTTP/1.0", "Host: a")+smuggled, passes(received("PUT /url", "")).then(severed))
	add("chunked behind HTTP/1.0", head("PUT /url HTTP/1.0", "Host: a", "Content-Length: 0")+chunked("0\r\n\r\n"), passes(received("PUT /url", "")).then(severed))
	add("Upgrade of a PUT with a body", head("PUT /url HTTP/1.1", "Host: a", "Connection: upgrade", "Content-Length: 4", "Upgrade: ws")+"abcd", passes(received("PUT /url", "abcd", "-Upgrade", "-Connection")))
	add("Upgrade to HTTP/2.0 of a POST", head("POST /demo HTTP/1.1", "Host: example.com", "Connection: Upgrade", "Upgrade: HTTP/2.0", "Content-Length: 15")+"sweet post body", passes(received("POST /demo", "sweet post body", "-Upgrade")))
	return rows
}

// standardRows are requests of net/http's tests.
func standardRows() (rows []row) {
	add := func(name, send string, want verdict) {
		rows = append(rows, one(published, "net/http, "+name, send, want))
	}
	add("everything at once", head("GET http://www.techcrunch.com/ HTTP/1.1", "Host: www.techcrunch.com", "Keep-Alive: 300", "Content-Length: 7", "Proxy-Connection: keep-alive")+"abcdef\n",
		passes(received("GET /", "abcdef\n", "Content-Length: 7", "-Keep-Alive", "-Proxy-Connection").at("www.techcrunch.com")))
	add("a path that looks like an authority", head("GET //user@host/is/actually/a/path/ HTTP/1.1", "Host: test"), passes(received("GET /user@host/is/actually/a/path/", "").at("test")))
	add("a path without a root", head("GET ../../../../etc/passwd HTTP/1.1", "Host: test"), refused("400"))
	add("no target", head("GET  HTTP/1.1", "Host: test"), refused("400"))
	trailing := received("POST /", "foobar", "Transfer-Encoding: chunked")
	trailing.trailer = []string{"Trailer-Key: Trailer-Value"}
	add("a trailer", head("POST / HTTP/1.1", "Host: foo.com", "Transfer-Encoding: chunked")+"3\r\nfoo\r\n3\r\nbar\r\n0\r\nTrailer-Key: Trailer-Value\r\n\r\n", passes(trailing))
	add("a length that should be deleted", head("POST / HTTP/1.1", "Host: foo.com", "Transfer-Encoding: chunked", "Content-Length: 9999")+"3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n", refused("400"))
	add("CONNECT to an address", head("CONNECT 127.0.0.1:6060 HTTP/1.1")+smuggled, refused("400|405|501"))
	add("CONNECT for RPC", head("CONNECT /_goRPC_ HTTP/1.1", "Host: a")+smuggled, refused("400|405|501"))
	add("CONNECT with escapes", head("CONNECT []%20%48%54%54%50%2f%31%2e%31%0a%4d%79%48%65%61%64%65%72%3a%20%31%32%33%0a%0a HTTP/1.0"), refused("400|405|501"))
	add("NOTIFY *", head("NOTIFY * HTTP/1.1", "Host: a", "Server: foo"), refused("400"))
	add("HEAD with a length of 0", head("HEAD / HTTP/1.1", "Host: issue8261.com", "Connection: close", "Content-Length: 0"), passes(received("HEAD /", "")).then(closes))
	add("two lengths of a HEAD", head("HEAD / HTTP/1.1", "Host: foo", "Content-Length: 4", "Content-Length: 5")+"1234", refused("400"))
	add("a folded first field", head("HEAD / HTTP/1.1", " Host: foo", "Content-Length: 5"), refused("400"))
	add("a folded first field by a tab", head("HEAD / HTTP/1.1", "\tHost: foo", "Content-Length: 5"), refused("400"))
	for _, value := range []string{"fugazi", "chunked, chunked", "chunked, identity", "\vchunked"} {
		add("coding "+value, head("PUT /u HTTP/1.1", "Host: a", "Transfer-Encoding: "+value)+"0\r\n\r\n"+smuggled, refused("400|501"))
	}
	add("three codings", head("PUT /u HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: identity", "Transfer-Encoding: chunked")+"0\r\n\r\n", refused("400|501"))
	for _, value := range []string{"+3", "-3", "9223372036854775808"} {
		add("length "+value, head("PUT /u HTTP/1.1", "Host: a", "Content-Length: "+value)+"abc", refused("400"))
	}
	for _, size := range []string{"x", "000000000000bogus", "ffffffffffffffff", "10000000000000000"} {
		add("chunk size "+size, chunked(size+"\r\nx\r\n0\r\n\r\n"), brokenBody("400"))
	}
	add("extensions", chunked("7;ext=\"some quoted string\"\r\nhello, \r\n17;someext\r\nworld! 0123456789abcdef\r\n0;someextension=sometoken\r\n\r\n"),
		passes(received("POST /p", "hello, world! 0123456789abcdef")))
	add("two bytes behind a chunk", chunked("7\r\n1234567xx"), brokenBody("400"))
	rows = append(rows, row{
		class: published, name: "net/http, chunks of a response", send: []string{get("/r")}, want: verdict{requests: []request{received("GET /r", "")}, statuses: []string{"200"}, body: "Body here\ncontinued"},
		origin: []reply{{raw: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "0a\r\nBody here\n\r\n09\r\ncontinued\r\n0\r\n\r\n"}},
	})
	return rows
}

package conformance

import "fmt"

// lineRows are about the grammar of a head's lines.
func lineRows() (rows []row) {
	add := func(name, send string, want verdict) { rows = append(rows, one(lineSyntax, name, send, want)) }

	// RFC 9112 §3: method SP request-target SP HTTP-version CRLF, and nothing else.
	for _, first := range []string{
		"GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET / HTTP/1.1\t",
		"GET / ", "GET /", "GET", "", " ", "/", "GET HTTP/1.1", "GET / HTTP", "GET / HTTP/", "GET / HTTP/1", "GET / HTTP/1.", "GET / HTTP/.1",
		"GET / HTTP/11", "GET / HTTP/1.1.1", "GET / HTTP/01.1", "GET / HTTP/1.01", "GET / HTTP/1,1", "GET / http/1.1", "GET / Http/1.1",
		"GET / HTP/1.1", "GET / HTTPS/1.1", "GET / HTTP/0.9", "GET / HTTP/2.0", "GET / HTTP/2", "GET / HTTP/3.0", "GET / HTTP/9.9", "GET / HTTP/1.2",
		"GET / HTTP/-1.1", "GET / HTTP/+1.1", "GET / HTTP/1.1x", "GET / xHTTP/1.1", "GET / HTTP / 1.1", "GET / HTTP/1. 1", "GET / RTSP/1.0", "GET / ICAP/1.0",
		"G\x00T / HTTP/1.1", "GET\x00 / HTTP/1.1", "GET /\x00 HTTP/1.1", "GET / HTTP/1.1\x00", "G@T / HTTP/1.1", "GET: / HTTP/1.1", "G(T / HTTP/1.1",
		"GÉT / HTTP/1.1", "GET,POST / HTTP/1.1", "\"GET\" / HTTP/1.1", "GET /\v HTTP/1.1", "GET\v/ HTTP/1.1", "GET\f/\fHTTP/1.1", "GET\xa0/ HTTP/1.1",
		"GET / HTTP/1.1\r", "GET / HTTP/1.1\rX: y", "GET /\r HTTP/1.1", "GET\r / HTTP/1.1", "GET / HTTP/1.1\v", "GET / a HTTP/1.1", "GET /a b HTTP/1.1",
		"GET / HTTP/1.1 HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\x1b[31m HTTP/1.1", "GET /é HTTP/1.1", "GET /\xff HTTP/1.1", "GET /?é HTTP/1.1", "GET /? HTTP/1.1 x",
		"GET /a\nb HTTP/1.1", "\x16\x03\x01\x02", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2", "\x00GET / HTTP/1.1", "\ufeffGET / HTTP/1.1", "HTTP/1.1 200 OK",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1", "GET / HTTP/10.1", "GET / HTTP/1.10",
	} {
		add(fmt.Sprintf("first line %q", first), head(first, "Host: a.example")+smuggled, refused("400|501|505"))
	}
	add("HTTP/0.9", "GET /\r\n", refused("400"))
	add("HTTP/0.9 with a host", "GET http://a.example/\r\n", refused("400"))
	add("preface of HTTP/2 behind an empty line", "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", refused("400|505"))
	add("preface of HTTP/2 with fields", "PRI * HTTP/2.1\r\nHost: a.example\r\n\r\nSM\r\n\r\n", refused("400|505"))
	add("preface of HTTP/2 with another target", "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", refused("400|505"))
	later := passes(request{line: "GET /x"})
	later.statuses, later.end = append(later.statuses, "400|505"), closes
	add("preface of HTTP/2 behind a request", get("/x")+"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", later)
	add("first line ends in LF", "GET / HTTP/1.1\nHost: a.example\r\n\r\n", refused("400"))
	add("all lines end in LF", "GET / HTTP/1.1\nHost: a.example\n\n", refused("400"))
	add("a field ends in LF", "GET / HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n", refused("400"))
	add("the head ends in LF", "GET / HTTP/1.1\r\nHost: a.example\r\n\n"+smuggled, refused("400"))
	add("the head ends in LF LF", "GET / HTTP/1.1\r\nHost: a.example\n\n"+smuggled, refused("400"))
	add("the head ends in CR", "GET / HTTP/1.1\r\nHost: a.example\r\n\rX"+smuggled, refused("400"))
	add("lines end in CR", "GET / HTTP/1.1\rHost: a.example\r\r", refused("400"))
	add("a field ends in CR CR LF", "GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\n", refused("400"))
	add("a field ends in LF CR", "GET / HTTP/1.1\r\nHost: a.example\n\r\n\r\n", refused("400"))
	add("two empty lines in front", "\r\n\r\n"+get("/x"), refused("400"))
	add("LF in front", "\n"+get("/x"), refused("400"))
	add("CR in front", "\r"+get("/x"), refused("400"))
	add("space in front", " \r\n"+get("/x"), refused("400"))
	add("NUL in front", "\x00\r\n"+get("/x"), refused("400"))
	// RFC 9112 §2.2: an old client's CRLF behind a POST is ignored.
	add("one empty line in front", "\r\n"+get("/x"), passes(received("GET /x", "")))

	for _, field := range []string{
		"X : y", "X\t: y", " X: y", "\tX: y", "X", "X y", ": y", "", "X\x00: y", "X: \x00", "X: a\x00b", "X: a\x01b", "X: a\vb", "X: a\fb", "X: a\x1bb", "X: a\x7fb",
		"X: a\rb", "X: a\nb", "X: a\r\rb", "X: a\r b", "X: y\r\n z", "X: y\r\n\tz", "X:\r\n y", "X: y\r\n \r\n z", "X\r\n: y", "(X): y", "X,Y: z", "X/Y: z",
		"X@Y: z", "[X]: y", "{X}: y", "\"X\": y", "X=Y: z", "X;Y: z", "X?: y", "<X>: y", "X\\: y", "Ä: y", "X\xff: y", "X Y: z", "X\u2028: y", "\r: y", "X: a\bb",
		"GET /smuggled HTTP/1.1", "X\x0b: y", "X\x1f: y",
	} {
		if field == "" {
			continue
		}
		add(fmt.Sprintf("field %q", field), head("GET / HTTP/1.1", "Host: a.example", field, "Z: z")+smuggled, refused("400"))
		add(fmt.Sprintf("field %q in front of Host", field), head("GET / HTTP/1.1", field, "Host: a.example")+smuggled, refused("400"))
	}
	for _, c := range []struct{ sent, want string }{
		{"X:y", "X: y"},
		{"X:\ty\t", "X: y"},
		{"X:   y   ", "X: y"},
		{"X: a:b", "X: a:b"},
		{"X: \"q\"", "X: \"q\""},
		{"X: \xe9\xff", "X: \xe9\xff"}, // obs-text (RFC 9110 §5.5) is passed on as it is
		{"x!#$%&'*+-.^`|~9: y", "x!#$%&'*+-.^`|~9: y"},
		{"x: a\tb", "x: a\tb"},
	} {
		add(fmt.Sprintf("canonical of %q", c.sent), head("GET /x HTTP/1.1", "Host: a.example", c.sent), passes(received("GET /x", "", c.want)))
	}
	add("empty value", head("GET /x HTTP/1.1", "Host: a.example", "X:"), passes(received("GET /x", "", "X: ")))
	add("name with an underscore", head("GET /x HTTP/1.1", "Host: a.example", "X_Y: z"), passes(received("GET /x", "", "-X_Y", "-X-Y")))
	add("unknown method", head("BREW /x HTTP/1.1", "Host: a.example"), passes(received("BREW /x", "")))
	add("method in lower case is another", head("get /x HTTP/1.1", "Host: a.example"), passes(received("get /x", "")))
	add("HTTP/1.0", head("GET /x HTTP/1.0", "Host: a.example"), passes(received("GET /x", "")).then(closes))
	add("HTTP/1.0 kept alive", head("GET /x HTTP/1.0", "Host: a.example", "Connection: keep-alive"), passes(received("GET /x", "", "-Connection")))
	return rows
}

// authorityRows are about the host that a request is for (RFC 9110 §7.2, RFC 9112 §3.2).
func authorityRows() (rows []row) {
	add := func(name, send string, want verdict) { rows = append(rows, one(authority, name, send, want)) }
	for _, host := range []string{
		"", "a b", "a,b", "a, b", "a/b", "a/", "/", "a?b", "a#b", "u@a", "u:p@a", "@a", "a@", "a:b", "a:", "a:0", "a:65536", "a:99999", "a:+80", "a:-1", "a:80:80", "a:080",
		"a: 80", "a :80", "a:80 b", ":80", ":", ".", "..", "a..b", ".a", "a\\b", "a\x00", "a\x00b", "a\tb", "a%2fb", "a%00", "%61", "a\"", "\"a\"", "a;b", "a=b", "a&b", "a*b", "*",
		"a|b", "a<b>", "a{b}", "[", "]", "[]", "[::1", "::1", "[::1]x", "[::1]:", "[::1]:0", "[::g]", "[::1%25eth0]", "[::1%lo]", "[1:2:3:4:5:6:7:8:9]", "[1.2.3.4]", "[v1.x]", "http://a",
		"a\xa0", "ä.example", "a.example\x7f", "a\u2024example", "xn--\xff", "$a", "a!b", "(a)", "a'b", "~a",
	} {
		add(fmt.Sprintf("Host %q", host), head("GET / HTTP/1.1", "Host: "+host)+smuggled, refused("400"))
	}
	for _, lines := range [][]string{
		{"Host: a.example", "Host: b.example"},
		{"Host: a.example", "Host: a.example"},
		{"Host: a.example", "host: b.example"},
		{"Host: a.example", "HOST:"},
		{"Host:", "Host: a.example"},
		{"Host : a.example"},
		{"Host: a.example", "Host : b.example"},
		{" Host: a.example"},
		{"Host: a.example", " Host: b.example"},
		{"Host\t: a.example"},
		{"Host: a.example\r\n b.example"},
		{"Host:\r\n a.example"},
		{"X: y"},
		{"Host\x00: a.example"},
		{"Ho\x00st: a.example"},
		{"Host"},
		{"Host: a.example", "Host\x00: b.example"},
		{"X_Host: a.example"},
		{"H\xf6st: a.example"},
		{"Host;: a.example"},
		{"Host: a.example\rHost: b.example"},
		{"Host: a.example\nHost: b.example"},
		{"X: y\nHost: a.example"},
	} {
		add(fmt.Sprintf("fields %q", lines), head(append([]string{"GET / HTTP/1.1"}, lines...)...)+smuggled, refused("400"))
	}
	add("no field at all", "GET / HTTP/1.1\r\n\r\n", refused("400"))
	add("two hosts on HTTP/1.0", head("GET / HTTP/1.0", "Host: a.example", "Host: b.example"), refused("400"))
	add("bad host on HTTP/1.0", head("GET / HTTP/1.0", "Host: a b"), refused("400"))
	for _, host := range []string{
		"a", "a.example", "A.Example", "a.example:80", "a.example.", "1.2.3.4", "1.2.3.4:8080", "[::1]", "[::1]:8080", "a-b.example", "xn--4ca.example", "a_b.example", "a:65535",
	} {
		add(fmt.Sprintf("Host %q is passed on", host), head("GET /x HTTP/1.1", "Host: "+host), passes(received("GET /x", "").at(host)))
	}
	add("alias of Host", head("GET /x HTTP/1.1", "Host: a.example", "_Host: b.example", "Host_: c.example"),
		passes(received("GET /x", "", "-_Host", "-Host_").at("a.example")))

	// The four forms of targets (RFC 9112 §3.2). The authority of an absolute one wins.
	absolute := func(target, line, host string) {
		add("target "+target, head("GET "+target+" HTTP/1.1", "Host: other.example"), passes(received(line, "").at(host)))
	}
	absolute("http://a.example/x", "GET /x", "a.example")
	absolute("HTTP://A.Example/x?y", "GET /x?y", "A.Example")
	absolute("https://a.example:443/x", "GET /x", "a.example:443")
	absolute("http://a.example", "GET /", "a.example")
	absolute("http://a.example?q", "GET /?q", "a.example")
	absolute("http://[::1]:80/x", "GET /x", "[::1]:80")
	absolute("http://a.example/a/../x", "GET /x", "a.example")
	absolute("http://a.example//x", "GET /x", "a.example")
	add("absolute target without Host on HTTP/1.0", head("GET http://a.example/x HTTP/1.0"), passes(received("GET /x", "").at("a.example")).then(closes))
	add("absolute OPTIONS", head("OPTIONS http://a.example HTTP/1.1", "Host: b.example"), passes(received("OPTIONS *", "").at("a.example")))
	add("OPTIONS *", head("OPTIONS * HTTP/1.1", "Host: a.example"), passes(received("OPTIONS *", "").at("a.example")))
	for _, target := range []string{
		"http://u@a.example/", "http://u:p@a.example/", "http://@a.example/", "http:///x", "http://", "http://?x", "http:/x", "http:x", "http:", "a.example", "a.example:80",
		"a.example/x", "x", "?x", "*", "**", "*/", "/x#y", "#", "http://a.example/#x", "http://a.example#x", "http://a.example:0/", "http://a.example:99999/", "http://a.example:/",
		"http://a.example\\@b.example/", "http://a b/", "http://a,b/", "http://a%2fb/", "http://[::1/", "http://[]/", "ftp://a.example/", "file:///etc/passwd", "ws://a.example/", "javascript://a/",
		"gopher://a/", "://a/", "http//a/", "1http://a/", "http://a..b/", "http://.a/", "\\\\a\\b", "\\", "http:\\\\a\\", "unix:/x", "http://*/",
	} {
		add(fmt.Sprintf("target %q", target), head("GET "+target+" HTTP/1.1", "Host: a.example")+smuggled, refused("400"))
	}
	for _, target := range []string{"//a.example/x\\y", "http://a.example/\\", "http://a.example/../x", "http://a.example/%00"} {
		add(fmt.Sprintf("path of target %q", target), head("GET "+target+" HTTP/1.1", "Host: a.example"), local("400", either))
	}
	add("absolute target with a bad Host", head("GET http://a.example/ HTTP/1.1", "Host: b c"), refused("400"))
	add("absolute target without Host", head("GET http://a.example/ HTTP/1.1"), refused("400"))
	add("absolute target with two Hosts", head("GET http://a.example/ HTTP/1.1", "Host: a.example", "Host: a.example"), refused("400"))
	add("POST *", head("POST * HTTP/1.1", "Host: a.example"), refused("400"))
	add("OPTIONS *?x", head("OPTIONS *?x HTTP/1.1", "Host: a.example"), refused("400"))

	// CONNECT is refused by default, and nothing behind it is taken for a request: it may be meant for a tunnel.
	conn := func(name, send string, want verdict) { rows = append(rows, one(connect, name, send, want)) }
	for _, target := range []string{"a.example:443", "a.example:80", "a.example", "1.2.3.4:80", "[::1]:80", "127.0.0.1:9901"} {
		conn(target, head("CONNECT "+target+" HTTP/1.1", "Host: "+target)+smuggled, refused("400|405|501"))
	}
	for _, target := range []string{"/", "/x", "*", "http://a.example/", "a.example:0", "a.example:443/x", "u@a.example:443", "a.example:443?x"} {
		conn(fmt.Sprintf("target %q", target), head("CONNECT "+target+" HTTP/1.1", "Host: a.example")+smuggled, refused("400|405|501"))
	}
	conn("with a body", head("CONNECT a.example:443 HTTP/1.1", "Host: a.example:443", "Content-Length: 3")+"abc"+smuggled, refused("400|405|501"))
	conn("chunked", head("CONNECT a.example:443 HTTP/1.1", "Host: a.example:443", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled, refused("400|405|501"))
	conn("with Upgrade", head("CONNECT a.example:443 HTTP/1.1", "Host: a.example:443", "Connection: upgrade", "Upgrade: websocket")+smuggled, refused("400|405|501"))
	conn("on HTTP/1.0", head("CONNECT a.example:443 HTTP/1.0")+smuggled, refused("400|405|501"))
	conn("TRACE", head("TRACE /x HTTP/1.1", "Host: a.example", "Cookie: secret"), local("405", either))
	conn("TRACE with a body", head("TRACE /x HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc", local("400|405", either))
	conn("TRACE on the way to a tunnel", head("TRACE /x HTTP/1.1", "Host: a.example", "Connection: upgrade", "Upgrade: x"), local("405", either))
	return rows
}

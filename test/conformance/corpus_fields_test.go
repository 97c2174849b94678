package conformance

import (
	"fmt"
	"strings"
)

// fieldRows are about fields with which a client could speak for the proxy, and trailers with which it could do so late.
func fieldRows() (rows []row) {
	add := func(class, name string, fields []string, want request) {
		rows = append(rows, one(class, name, head(append([]string{"GET /f HTTP/1.1", "Host: a.example"}, fields...)...), passes(want)))
	}
	plain := received("GET /f", "")

	// What Connection lists is removed first, then our fields are added: whoever lists ours gets nothing. That ours are
	// there in every request is judged by the origin. Framing, Host and credentials are not a client's to remove.
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-PROTO", "x-forwarded-host", "X-Request-Id", "x-real-ip", "Forwarded", "Via", "host", "HOST", "Connection", "keep-alive", "close, x-forwarded-for",
		"x-forwarded-for, x-forwarded-proto, x-forwarded-host", ",,x-forwarded-for,,", "\tx-forwarded-for\t", "x-forwarded-for,x-forwarded-for",
	} {
		want := passes(plain.at("a.example"))
		if strings.Contains(name, "close") {
			want.end = closes
		}
		rows = append(rows, one(connectionList, fmt.Sprintf("lists %q", name), head("GET /f HTTP/1.1", "Host: a.example", "Connection: "+name, "X-Forwarded-For: 6.6.6.6", "X-Request-Id: evil"), want))
	}
	for _, field := range []string{
		"Authorization: Basic YTpi", "Cookie: a=b", "Content-Type: text/plain", "Content-Encoding: gzip",
	} {
		name, _, _ := strings.Cut(field, ":")
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			add(connectionList, "keeps "+spelled, []string{"Connection: " + spelled, field}, received("GET /f", "", field))
		}
	}
	for _, spelled := range []string{"content-length", "Content-Length", "CONTENT-LENGTH", "close, content-length"} {
		want := passes(received("POST /p", "abc", "Content-Length: 3"))
		if strings.Contains(spelled, "close") {
			want.end = closes
		}
		rows = append(rows, one(connectionList, "keeps "+spelled, post("abc", "Connection: "+spelled, "Content-Length: 3"), want))
	}
	for _, spelled := range []string{"transfer-encoding", "Transfer-Encoding", "TRANSFER-ENCODING", "te, transfer-encoding"} {
		rows = append(rows, one(connectionList, "keeps "+spelled, post("3\r\nabc\r\n0\r\n\r\n", "Connection: "+spelled, "Transfer-Encoding: chunked"), passes(received("POST /p", "abc", "Transfer-Encoding: chunked"))))
	}
	for _, c := range [][]string{
		{"Connection: x-hop", "X-Hop: y"},
		{"Connection: X-HOP", "x-hop: y"},
		{"X-Hop: y", "Connection: keep-alive, x-hop"},
		{"Connection: x-hop", "X-Hop: y", "X-Hop: z"},
		{"Connection: keep-alive", "Connection: x-hop", "X-Hop: y"},
		{"connection:x-hop", "X-Hop: y"},
		{"Connection: ,x-hop,", "X-Hop: y"},
		{"Connection: a,\tx-hop ,b", "X-Hop: y"},
		{"Connection: close-not, x-hop", "X-Hop: y"},
	} {
		add(connectionList, fmt.Sprintf("removes %q", c), c, received("GET /f", "", "-X-Hop", "-Connection"))
	}
	for _, field := range []string{
		"Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Connection: close", "TE: trailers", "TE: gzip", "Proxy-Authorization: Basic YTpi", "HTTP2-Settings: AAMAAABkAAQAAP__", "Upgrade: websocket", "Trailer: X",
	} {
		name, _, _ := strings.Cut(field, ":")
		add(connectionList, "hop by hop, "+field, []string{field}, received("GET /f", "", "-"+name, "-Connection"))
	}

	// RFC 9110 §7.6.2: who gets the last OPTIONS or TRACE answers it, and the others count down.
	for _, c := range []struct{ sent, want string }{{"1", "0"}, {"10", "9"}, {"007", "6"}} {
		rows = append(rows, one(connectionList, "Max-Forwards "+c.sent, head("OPTIONS /f HTTP/1.1", "Host: a.example", "Max-Forwards: "+c.sent), passes(received("OPTIONS /f", "", "Max-Forwards: "+c.want))))
	}
	rows = append(rows,
		one(connectionList, "Max-Forwards 0", head("OPTIONS /f HTTP/1.1", "Host: a.example", "Max-Forwards: 0"), local("200|204", stays)),
		one(connectionList, "Max-Forwards 0 of OPTIONS *", head("OPTIONS * HTTP/1.1", "Host: a.example", "Max-Forwards: 0"), local("200|204", stays)),
		one(connectionList, "Max-Forwards of another method", head("GET /f HTTP/1.1", "Host: a.example", "Max-Forwards: 0"), passes(received("GET /f", "", "Max-Forwards: 0"))),
	)

	// From strangers nothing is believed. That it is not passed on either is judged by the origin.
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL",
		"X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-By", "X-Forwarded-Path", "X-Forwarded-User", "X-Forwarded",
		"True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP", "X-Original-Host",
		"X-Original-Forwarded-For", "X-Original-URI", "X-Url-Scheme", "Front-End-Https", "Proxy",
	} {
		dropped := received("GET /f", "", "~"+name+": evil.example")
		switch name {
		case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host":
		default:
			dropped.fields = []string{"-" + name}
		}
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			add(trust, spelled, []string{spelled + ": evil.example"}, dropped)
		}
		add(trust, name+" twice", []string{name + ": evil.example", name + ": evil.example"}, dropped)
		alias := strings.ReplaceAll(name, "-", "_")
		add(trust, "alias "+alias, []string{alias + ": evil.example"}, received("GET /f", "", "-"+alias))
		half := strings.Replace(name, "-", "_", 1)
		if half != alias {
			add(trust, "alias "+half, []string{half + ": evil.example"}, received("GET /f", "", "-"+half))
		}
	}
	add(trust, "X-Request-Id", []string{"X-Request-Id: evil"}, received("GET /f", "", "~X-Request-Id: evil"))
	add(trust, "Forwarded", []string{"Forwarded: for=6.6.6.6;proto=https"}, received("GET /f", "", `Forwarded: for=127.0.0.1;host="a.example";proto=http`))
	add(trust, "Forwarded twice", []string{"Forwarded: for=6.6.6.6", "forwarded: for=7.7.7.7"}, received("GET /f", "", `Forwarded: for=127.0.0.1;host="a.example";proto=http`))
	add(trust, "alias of Host", []string{"HTTP_HOST: evil.example"}, received("GET /f", "", "-HTTP_HOST").at("a.example"))
	add(trust, "alias of Authorization", []string{"_Authorization: x", "Authorization_: y"}, received("GET /f", "", "-_Authorization", "-Authorization_", "-Authorization"))
	add(trust, "credentials pass", []string{"Authorization: Bearer x", "Cookie: a=b"}, received("GET /f", "", "Authorization: Bearer x", "Cookie: a=b"))
	rows = append(rows, one(trust, "an absolute target is the host that was asked for", head("GET http://b.example/f HTTP/1.1", "Host: a.example", "X-Forwarded-Host: c.example"),
		passes(received("GET /f", "", "X-Forwarded-Host: b.example").at("b.example"))))

	trusted := func(name string, fields []string, want request) {
		r := one(trust, "trusted: "+name, head(append([]string{"GET /f HTTP/1.1", "Host: a.example"}, fields...)...), passes(want))
		r.from = trustedClient
		rows = append(rows, r)
	}
	trusted("chain", []string{"X-Forwarded-For: 1.1.1.1"}, received("GET /f", "", "X-Forwarded-For: 1.1.1.1, "+trustedClient))
	trusted("chain in two lines", []string{"X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"}, received("GET /f", "", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, "+trustedClient))
	trusted("nothing to continue", nil, received("GET /f", "", "X-Forwarded-For: "+trustedClient, "X-Forwarded-Proto: http", "X-Forwarded-Host: a.example"))
	trusted("protocol and host", []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: b.example"}, received("GET /f", "", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.example"))
	trusted("request id", []string{"X-Request-Id: abc"}, received("GET /f", "", "X-Request-Id: abc"))
	trusted("request id twice", []string{"X-Request-Id: abc", "X-Request-Id: def"}, received("GET /f", "", "X-Request-Id: abc"))
	trusted("Forwarded", []string{"Forwarded: for=1.1.1.1"}, received("GET /f", "", `Forwarded: for=1.1.1.1, for=`+trustedClient+`;host="a.example";proto=http`))
	trusted("fields listed by Connection", []string{"Connection: x-forwarded-for, x-request-id", "X-Forwarded-For: 1.1.1.1", "X-Request-Id: abc"}, received("GET /f", "", "X-Forwarded-For: "+trustedClient, "~X-Request-Id: abc"))
	trusted("aliases are nobody's", []string{"X_Forwarded_For: 1.1.1.1"}, received("GET /f", "", "-X_Forwarded_For", "X-Forwarded-For: "+trustedClient))
	return append(rows, trailerRows()...)
}

// trailerRows are about fields behind a body (RFC 9110 §6.5.1): what frames, routes or speaks for somebody is dropped.
func trailerRows() (rows []row) {
	add := func(name, trailer string, want verdict) {
		rows = append(rows, one(trailers, name, chunked("3\r\nabc\r\n0\r\n"+trailer), want))
	}
	with := func(fields ...string) verdict {
		r := received("POST /p", "abc", "Transfer-Encoding: chunked", "-Content-Length")
		r.trailer = fields
		return passes(r)
	}
	add("passes", "X-Checksum: 1\r\n\r\n", with("X-Checksum: 1"))
	add("two pass", "A: 1\r\nb:2\r\n\r\n", with("A: 1", "b: 2"))
	for _, field := range []string{
		"Content-Length: 100", "content-length: 100", "Transfer-Encoding: chunked", "Host: evil.example", "Authorization: Basic YTpi", "Cookie: a=b", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Scheme: https",
		"X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Request-Id: evil", "Connection: close", "Upgrade: h2c", "Expect: 100-continue", "Trailer: X", "TE: trailers", "Keep-Alive: x", "Proxy-Connection: x", "Proxy-Authorization: x",
		"X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Content-Type: text/html", "Content-Encoding: gzip", "Content-Range: bytes 0-1/2", "Via: 1.1 x", "Max-Forwards: 0", "Cache-Control: no-store", "Range: bytes=0-1", "If-Match: x",
		"Set-Cookie: a=b", "X_Forwarded_For: 6.6.6.6", "Content_Length: 100", "Transfer_Encoding: chunked",
	} {
		add("drops "+field, field+"\r\nX-Checksum: 1\r\n\r\n", with("X-Checksum: 1"))
	}
	for _, field := range []string{
		"X : y", " X: y", "X", ": y", "X: a\x00b", "X: a\rb", "X: y\r\n z", "X: a\nb", "X\x00: y", "(X): y", "GET /smuggled HTTP/1.1", "X: a\x7f",
	} {
		add(fmt.Sprintf("refuses %q", field), field+"\r\n\r\n"+smuggled, brokenBody("400"))
	}
	add("ends in LF", "X: y\n\r\n", brokenBody("400"))
	add("too large", "X: "+strings.Repeat("y", 1<<17)+"\r\n\r\n", brokenBody("400|431"))
	add("too many", strings.Repeat("X: y\r\n", 1000)+"\r\n", brokenBody("400|431"))
	add("no end", strings.Repeat("X: y\r\n", 20000), brokenBody("400|431"))

	response := func(trailer string, want verdict) {
		rows = append(rows, row{
			class: trailers, name: fmt.Sprintf("of a response, %q", trailer), send: []string{get("/r")}, want: want,
			origin: []reply{{raw: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "2\r\nok\r\n0\r\n" + trailer + "\r\n"}},
		})
	}
	ask := received("GET /r", "")
	response("X-Checksum: 1\r\n", verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", trailer: []string{"X-Checksum: 1"}})
	for _, field := range []string{"Content-Length: 5", "Transfer-Encoding: chunked", "Set-Cookie: a=b", "Connection: close", "Location: /evil", "Cache-Control: public", "Content-Type: text/html"} {
		response(field+"\r\nX: y\r\n", verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", trailer: []string{"X: y"}})
	}
	return rows
}

package conformance

import (
	"fmt"
	"strings"
)

// responseRows are about endpoints whose responses two readers may find to end in different places.
func responseRows() (rows []row) {
	ask := received("GET /r", "")
	add := func(name, raw string, want verdict) {
		rows = append(rows, answered(name, reply{raw: raw, whole: want.discarded}, want))
	}
	bad := func(name, raw string) { add(name, raw, desynced("502", ask)) }
	send := func(name, request string, r reply, want verdict) {
		rows = append(rows, row{class: responseDesync, name: name, send: []string{request}, origin: []reply{r}, want: want})
	}

	// The status line (RFC 9112 §4).
	for _, first := range []string{
		"HTTP/1.1 200OK", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2O0 OK", "HTTP/1.1 -200 OK", "HTTP/1.1 +200 OK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", " HTTP/1.1 200 OK",
		"HTTP/1.1 600 x", "HTTP/1.1 999 x", "HTTP/1.1 099 x", "HTTP/1.1 000 x", "HTTP/1.1", "HTTP/1.1 ", "HTTP/2 200 OK", "HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "HTTP/3 200 OK", "http/1.1 200 OK",
		"ICY 200 OK", "HTTP 200 OK", "200 OK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 O\x1bK", "GET / HTTP/1.1", "hello", "", "\x00\x00\x12\x04\x00\x00", "220 mail.example ESMTP",
		"HTTP/1.1 0x200 OK", "HTTP/1.1 200.0 OK", "HTTP/1.10 200 OK", "HTTP/1.1 200\x0b", "<html>", "HTTP/1.1 200 O\x7fK",
	} {
		bad(fmt.Sprintf("first line %q", first), head(first, "Content-Length: 0"))
	}
	bad("first line ends in LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n")
	bad("lines end in LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	bad("empty line in front", "\r\n"+ok("no"))
	bad("LF in front", "\n"+ok("no"))

	// Fields.
	for _, field := range []string{
		"X : y", "X\t: y", " X: y", "X: y\r\n z", "X", ": y", "X: a\x00b", "X: a\rb", "X: a\nb", "X: a\x1bb", "X: a\x7fb", "X Y: z", "X\x00: y", "(X): y", "X\xff: y", "\tX: y",
	} {
		bad(fmt.Sprintf("field %q", field), head("HTTP/1.1 200 OK", "Content-Length: 0", field))
		bad(fmt.Sprintf("field %q in front", field), head("HTTP/1.1 200 OK", field, "Content-Length: 0"))
	}

	// Framing.
	for _, value := range []string{"+2", "-2", "2, 2", "2,3", "", "0x2", "2 2", "2x", "two", "18446744073709551618", "99999999999999999999", "2;", "\v2", "2\x00"} {
		bad(fmt.Sprintf("Content-Length %q", value), head("HTTP/1.1 200 OK", "Content-Length: "+value)+"ok")
	}
	bad("two equal Content-Lengths", head("HTTP/1.1 200 OK", "Content-Length: 2", "Content-Length: 2")+"ok")
	bad("two Content-Lengths", head("HTTP/1.1 200 OK", "Content-Length: 2", "Content-Length: 20")+"ok")
	bad("Content-Length with a coding", head("HTTP/1.1 200 OK", "Content-Length: 2", "Transfer-Encoding: chunked")+"2\r\nok\r\n0\r\n\r\n")
	bad("a coding with Content-Length", head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 2")+"2\r\nok\r\n0\r\n\r\n")
	for _, value := range []string{"identity", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", ",chunked", "chunked,", "chunked;a=b", "\vchunked", "\"chunked\"", "chunked\x00", ""} {
		bad(fmt.Sprintf("Transfer-Encoding %q", value), head("HTTP/1.1 200 OK", "Transfer-Encoding: "+value)+"0\r\n\r\n")
	}
	bad("two codings", head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")+"0\r\n\r\n")
	bad("coding with a space before the colon", head("HTTP/1.1 200 OK", "Transfer-Encoding : chunked")+"0\r\n\r\n")
	bad("coding on HTTP/1.0", head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")+"0\r\n\r\n")
	bad("coding on a HTTP/1.0 that is kept alive", head("HTTP/1.0 200 OK", "Connection: keep-alive", "Transfer-Encoding: chunked")+"0\r\n\r\n")
	bad("folded length", head("HTTP/1.1 200 OK", "Content-Length:\r\n 2")+"ok")

	// Chunks that are wrong show behind the head: the end must not look clean.
	chunks := func(body string) string {
		return head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + body
	}
	for _, body := range []string{
		"0x2\r\nok\r\n0\r\n\r\n", "+2\r\nok\r\n0\r\n\r\n", "2 \r\nok\r\n0\r\n\r\n", "2\nok\r\n0\r\n\r\n", "2\r\nokX\r\n0\r\n\r\n", "2\r\nok0\r\n\r\n", "g\r\n", "\r\n0\r\n\r\n", "10000000000000002\r\nok\r\n0\r\n\r\n",
		"2\r\nok\n0\r\n\r\n", "2\r\nok\r\n0\r\nX : y\r\n\r\n", "2\r\nok\r\n0\r\nX\r\n\r\n", "2\r\nok\r\n0\r\n\n", "2;\n\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n-1\r\n\r\n", "2\r\nok\r\nHTTP/1.1 200 OK\r\n\r\n",
	} {
		add(fmt.Sprintf("chunks %q", body), chunks(body), brokenOff("200", ask))
	}
	add("extension bomb", chunks(strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 64)+"0\r\n\r\n"), brokenOff("200", ask))
	for name, raw := range map[string]string{
		"within a length":                     head("HTTP/1.1 200 OK", "Content-Length: 10") + "short",
		"in front of a length's bytes":        head("HTTP/1.1 200 OK", "Content-Length: 10"),
		"within a long length":                head("HTTP/1.1 200 OK", "Content-Length: 100000") + strings.Repeat("x", 50000),
		"in front of the first chunk":         chunks(""),
		"within a chunk size":                 chunks("5"),
		"within a chunk":                      chunks("5\r\nab"),
		"behind a chunk":                      chunks("2\r\nok\r\n"),
		"in front of the end of the trailer":  chunks("2\r\nok\r\n0\r\n"),
		"within the trailer":                  chunks("2\r\nok\r\n0\r\nX: y\r\n"),
		"within the end of the last chunk":    chunks("2\r\nok\r\n0\r"),
		"behind a large body in small chunks": chunks(strings.Repeat("10\r\n0123456789abcdef\r\n", 4000)),
	} {
		rows = append(rows, answered("closed "+name, reply{raw: raw, close: true}, brokenOff("200", ask)),
			answered("reset "+name, reply{raw: raw, reset: true, whole: true}, brokenOff("200", ask)))
		send("closed "+name+", to HTTP/1.0", head("GET /r HTTP/1.0", "Host: a.example"), reply{raw: raw, close: true}, brokenOff("200", ask))
	}
	rows = append(rows, answered("reset where the end would have told", reply{raw: head("HTTP/1.0 200 OK") + "some", reset: true}, brokenOff("200", ask)))

	// Bytes that nobody asked for: the answer is whole, the connection is over.
	fine := func(body string) verdict {
		v := desynced("200", ask).then(stays)
		v.body = body
		return v
	}
	add("extra bytes behind a length", ok("ok")+"extra", fine("ok"))
	add("a second response", ok("ok")+ok("evil"), fine("ok"))
	add("extra CR LF", ok("ok")+"\r\n", fine("ok"))
	add("extra bytes behind chunks", chunks("2\r\nok\r\n0\r\n\r\n")+ok("evil"), fine("ok"))
	add("extra bytes behind an empty body", ok("")+ok("evil"), fine(""))
	for _, status := range []string{"204 No Content", "304 Not Modified"} {
		v := desynced(status[:3], ask).then(stays)
		add("body behind "+status, head("HTTP/1.1 "+status)+"body", v)
		add("announced body behind "+status, head("HTTP/1.1 "+status, "Content-Length: 4")+"body", v)
		add("chunked body behind "+status, head("HTTP/1.1 "+status, "Transfer-Encoding: chunked")+"4\r\nbody\r\n0\r\n\r\n", v)
		add("a second response behind "+status, head("HTTP/1.1 "+status)+ok("evil"), v)
	}
	add("announced body of a 204 that does not come", head("HTTP/1.1 204 No Content", "Content-Length: 4"), desynced("204", ask).then(stays))
	askHead := received("HEAD /r", "")
	toHead := head("HEAD /r HTTP/1.1", "Host: a.example")
	send("body behind HEAD", toHead, reply{raw: ok("body"), whole: true}, desynced("200", askHead).then(stays))
	send("chunks behind HEAD", toHead, reply{raw: chunks("2\r\nok\r\n0\r\n\r\n"), whole: true}, desynced("200", askHead).then(stays))
	send("a second response behind HEAD", toHead, reply{raw: ok("") + ok("evil"), whole: true}, desynced("200", askHead).then(stays))
	send("length of a HEAD", toHead, reply{raw: head("HTTP/1.1 200 OK", "Content-Length: 1000")}, verdict{requests: []request{askHead}, statuses: []string{"200"}, fields: []string{"Content-Length: 1000"}})
	send("coding of a HEAD", toHead, reply{raw: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")}, passes(askHead))
	add("length of a 304", head("HTTP/1.1 304 Not Modified", "Content-Length: 1000"), verdict{requests: []request{ask}, statuses: []string{"304"}})

	// Bytes on an idle connection.
	for name, text := range map[string]string{
		"408": head("HTTP/1.1 408 Request Timeout", "Content-Length: 0", "Connection: close"), "200": ok("evil"), "a byte": "x", "CR LF": "\r\n", "100": goOn, "half a head": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
	} {
		rows = append(rows, answered("unsolicited "+name, reply{late: text}, desynced("200", ask).then(stays)))
	}

	// Interim responses.
	bad("101 that nobody asked for", head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")+ok("evil"))
	bad("interim flood", strings.Repeat(goOn, 100)+ok("ok"))
	bad("interim flood of 103", strings.Repeat(head("HTTP/1.1 103 Early Hints", "Link: </x>"), 100)+ok("ok"))
	bad("interim with a length", head("HTTP/1.1 103 Early Hints", "Content-Length: 4")+"evil"+ok("ok"))
	bad("interim with a coding", head("HTTP/1.1 100 Continue", "Transfer-Encoding: chunked")+"0\r\n\r\n"+ok("ok"))
	bad("interim that is malformed", head("HTTP/1.1 103 Early Hints", "X : y")+ok("ok"))
	bad("garbage behind an interim", goOn+"garbage\r\n\r\n")
	add("100 that nobody waits for", goOn+ok("ok"), verdict{requests: []request{ask}, statuses: []string{"200"}, interim: []string{}, body: "ok"})
	add("103", head("HTTP/1.1 103 Early Hints", "Link: </x>")+ok("ok"), verdict{requests: []request{ask}, statuses: []string{"200"}, interim: []string{"103"}, body: "ok"})
	send("103 to HTTP/1.0", head("GET /r HTTP/1.0", "Host: a.example"), reply{raw: head("HTTP/1.1 103 Early Hints", "Link: </x>") + ok("ok")},
		verdict{requests: []request{ask}, statuses: []string{"200"}, interim: []string{}, body: "ok", end: closes})

	// Heads without measure.
	bad("a field of 100 KiB", head("HTTP/1.1 200 OK", "Content-Length: 2", "X: "+strings.Repeat("x", 100<<10))+"ok")
	bad("100 KiB of fields", head("HTTP/1.1 200 OK", "Content-Length: 2", strings.TrimSuffix(strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100), "\r\n"))+"ok")
	bad("1,000 fields", head("HTTP/1.1 200 OK", "Content-Length: 2", strings.TrimSuffix(strings.Repeat("X: y\r\n", 1000), "\r\n"))+"ok")
	bad("a reason of 100 KiB", head("HTTP/1.1 200 "+strings.Repeat("x", 100<<10), "Content-Length: 2")+"ok")
	bad("a name of 100 KiB", head("HTTP/1.1 200 OK", strings.Repeat("x", 100<<10)+": y", "Content-Length: 2")+"ok")

	// Endpoints that end or say nothing. A POST is never sent twice once any of it was sent.
	posted := received("POST /p", "abc")
	for name, r := range map[string]reply{
		"closes": {close: true}, "resets": {reset: true}, "closes within the first line": {raw: "HTTP/1.", close: true},
		"closes within the head": {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", close: true}, "closes behind an interim": {raw: goOn, close: true},
	} {
		send("the endpoint "+name, post("abc", "Content-Length: 3"), r, desynced("502", posted))
	}

	// What is right.
	add("HTTP/1.0", head("HTTP/1.0 200 OK", "Content-Length: 2")+"ok", desynced("200", ask).then(stays))
	add("HTTP/1.0 kept alive", head("HTTP/1.0 200 OK", "Content-Length: 2", "Connection: keep-alive")+"ok", verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", fields: []string{"-Connection"}})
	add("Connection: close", head("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: close")+"ok", fine("ok"))
	rows = append(rows, answered("body until the end", reply{raw: head("HTTP/1.1 200 OK", "Connection: close") + "ok", close: true}, fine("ok")))
	send("body until the end, to HTTP/1.0", head("GET /r HTTP/1.0", "Host: a.example"), reply{raw: head("HTTP/1.0 200 OK") + "ok", close: true}, desynced("200", ask).then(closes))
	send("chunks to HTTP/1.0", head("GET /r HTTP/1.0", "Host: a.example"), reply{raw: chunks("2\r\nok\r\n0\r\n\r\n")},
		verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", end: closes, fields: []string{"-Transfer-Encoding", "-Content-Length"}})
	add("chunks", chunks("1;a=b\r\no\r\n0001\r\nk\r\n0\r\n\r\n"), verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", fields: []string{"Transfer-Encoding: chunked"}})
	add("no reason", head("HTTP/1.1 200", "Content-Length: 2")+"ok", passes(ask))
	add("length with leading zeros", head("HTTP/1.1 200 OK", "Content-Length: 0002")+"ok", verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", fields: []string{"Content-Length: 2"}})
	add("hop-by-hop fields", head("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: x-hop, Keep-Alive", "X-Hop: y", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Upgrade: h2c", "TE: x")+"ok",
		verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", fields: []string{"-X-Hop", "-Keep-Alive", "-Proxy-Connection", "-Upgrade", "-TE", "-Connection"}})
	add("framing listed by Connection", head("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: content-length, set-cookie", "Set-Cookie: a=b")+"ok",
		verdict{requests: []request{ask}, statuses: []string{"200"}, body: "ok", fields: []string{"Content-Length: 2", "Set-Cookie: a=b"}})
	return rows
}

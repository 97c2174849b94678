package conformance

import (
	"fmt"
	"strings"
)

const goOn = "HTTP/1.1 100 Continue\r\n\r\n"

// ok is a plain answer with that body.
func ok(body string, fields ...string) string {
	return head(append([]string{"HTTP/1.1 200 OK", fmt.Sprintf("Content-Length: %d", len(body))}, fields...)...) + body
}

// exchangeRows are about requests whose body is not read, or waits, and about upgrades.
func exchangeRows() (rows []row) {
	return append(append(expectRows(), unreadRows()...), tunnelRows()...)
}

func expectRows() (rows []row) {
	add := func(name string, send []string, origin reply, want verdict) {
		rows = append(rows, row{class: expectation, name: name, send: send, origin: []reply{origin}, want: want})
	}
	expecting := post("", "Content-Length: 3", "Expect: 100-continue")
	continues := verdict{requests: []request{received("POST /p", "abc")}, statuses: []string{"200"}, interim: []string{"100"}}
	add("the client waits", []string{expecting, await100, "abc"}, reply{first: goOn}, continues)
	add("the client does not wait", []string{expecting + "abc"}, reply{first: goOn}, continues)
	add("in another case", []string{post("", "Content-Length: 3", "expect: 100-Continue"), await100, "abc"}, reply{first: goOn}, continues)
	add("chunked", []string{post("", "Transfer-Encoding: chunked", "Expect: 100-continue"), await100, "3\r\nabc\r\n0\r\n\r\n"}, reply{first: goOn}, continues)
	add("100 twice", []string{expecting, await100, "abc"}, reply{first: goOn + goOn}, continues)
	add("listed by Connection", []string{post("", "Content-Length: 3", "Connection: expect", "Expect: 100-continue"), await100, "abc"}, reply{first: goOn}, continues)
	add("bad chunks behind 100", []string{post("", "Transfer-Encoding: chunked", "Expect: 100-continue"), await100, "0x3\r\nabc\r\n0\r\n\r\n" + smuggled},
		reply{first: goOn}, brokenBody("400"))

	// A final answer without 100: the client may send the body or not, and nobody knows where the next request begins.
	for _, status := range []string{"200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "413 Content Too Large", "417 Expectation Failed", "429 Too Many Requests"} {
		final := head("HTTP/1.1 "+status, "Content-Length: 2") + "no"
		want := verdict{statuses: []string{status[:3]}, partial: true, discarded: true, end: closes, body: "no"}
		add("final answer "+status[:3]+", no body comes", []string{expecting}, reply{raw: final, early: true}, want)
		long := post("", fmt.Sprintf("Content-Length: %d", len(smuggled)), "Expect: 100-continue")
		add("final answer "+status[:3]+", the body looks like a request", []string{long + smuggled}, reply{raw: final, early: true}, want)
		add("final answer "+status[:3]+", a request comes in place of the body", []string{long, awaitAnswer, smuggled}, reply{raw: final, early: true}, want)
	}
	add("final answer, chunked", []string{post("", "Transfer-Encoding: chunked", "Expect: 100-continue") + "0\r\n\r\n" + smuggled},
		reply{raw: ok("no"), early: true}, verdict{statuses: []string{"200"}, partial: true, discarded: true, end: closes})
	add("final answer, chunked, and much behind it", []string{post("", "Transfer-Encoding: chunked", "Expect: 100-continue") + "0\r\n\r\n" + strings.Repeat(smuggled, 2000)},
		reply{raw: ok("no"), early: true}, verdict{statuses: []string{"200"}, partial: true, discarded: true, end: closes})
	add("the endpoint closes", []string{expecting}, reply{raw: head("HTTP/1.1 417 Expectation Failed", "Content-Length: 0", "Connection: close"), early: true, close: true},
		verdict{statuses: []string{"417"}, discarded: true, end: closes})

	for _, value := range []string{"", "100", "100-continu", "100-continue2", "100 continue", "200-ok", "100-continue, 200-ok", "x=y", "100-continue;q=1", "\"100-continue\"", "y"} {
		add(fmt.Sprintf("odd, %q", value), []string{post("abc"+smuggled, "Content-Length: 3", "Expect: "+value)}, reply{}, refused("400|417"))
	}
	add("odd, without a body", []string{head("GET /x HTTP/1.1", "Host: a.example", "Expect: y") + smuggled}, reply{}, refused("400|417"))
	add("two lines", []string{post("abc"+smuggled, "Content-Length: 3", "Expect: 100-continue", "Expect: 100-continue")}, reply{}, refused("400|417"))
	add("two lines that differ", []string{post("abc"+smuggled, "Content-Length: 3", "Expect: 100-continue", "Expect: x")}, reply{}, refused("400|417"))
	add("folded", []string{post("abc"+smuggled, "Content-Length: 3", "Expect:\r\n 100-continue")}, reply{}, refused("400|417"))
	add("space before the colon", []string{post("abc"+smuggled, "Content-Length: 3", "Expect : 100-continue")}, reply{}, refused("400"))
	// RFC 9110 §10.1.1: not without a body, nor from HTTP/1.0 clients.
	add("without a body", []string{head("GET /x HTTP/1.1", "Host: a.example", "Expect: 100-continue")}, reply{}, passes(received("GET /x", "", "-Expect")))
	add("with an empty body", []string{post("", "Content-Length: 0", "Expect: 100-continue")}, reply{}, passes(received("POST /p", "", "-Expect")))
	add("on HTTP/1.0", []string{head("POST /p HTTP/1.0", "Host: a.example", "Content-Length: 3", "Expect: 100-continue") + "abc"}, reply{},
		verdict{requests: []request{received("POST /p", "abc", "-Expect")}, statuses: []string{"200"}, end: closes})
	add("answered here", []string{head("POST /%00 HTTP/1.1", "Host: a.example", "Content-Length: 3", "Expect: 100-continue")}, reply{},
		verdict{statuses: []string{"400"}, end: closes, interim: nil})
	return rows
}

func unreadRows() (rows []row) {
	add := func(name string, send []string, origin reply, want verdict) {
		rows = append(rows, row{class: unreadBody, name: name, send: send, origin: []reply{origin}, want: want})
	}
	// The endpoint answers and the body never comes: both connections have a request open.
	for _, status := range []string{"200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "413 Content Too Large", "429 Too Many Requests", "500 Internal Server Error"} {
		early := reply{raw: head("HTTP/1.1 "+status, "Content-Length: 2") + "no", early: true}
		want := verdict{statuses: []string{status[:3]}, partial: true, discarded: true, end: closes, body: "no"}
		add("early "+status[:3], []string{post("", "Content-Length: 10")}, early, want)
		add("early "+status[:3]+", half of the body", []string{post("abcde", "Content-Length: 10")}, early, want)
		add("early "+status[:3]+", chunked", []string{chunked("3\r\nabc\r\n")}, early, want)
	}
	add("early without a body", []string{post("", "Content-Length: 10")}, reply{raw: head("HTTP/1.1 204 No Content"), early: true},
		verdict{statuses: []string{"204"}, partial: true, discarded: true, end: closes})
	add("early, and the endpoint closes", []string{post("", "Content-Length: 10")}, reply{raw: ok("no", "Connection: close"), early: true, close: true},
		verdict{statuses: []string{"200"}, discarded: true, end: closes})
	// To HTTP/1.0 the end of the connection is the end of the body: only a reset tells that it is not.
	add("early, and breaks off, to HTTP/1.0", []string{head("POST /p HTTP/1.0", "Host: a.example", "Content-Length: 10")},
		reply{raw: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "5\r\nab", early: true, close: true}, brokenOff("200"))
	add("early without an end, to HTTP/1.0", []string{head("POST /p HTTP/1.0", "Host: a.example", "Content-Length: 10", "Connection: keep-alive")},
		reply{raw: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "2\r\nok\r\n", early: true, close: true}, brokenOff("200"))
	big := strings.Repeat("x", 300<<10)
	add("the endpoint answers a large body and closes", []string{post(big, fmt.Sprintf("Content-Length: %d", len(big)))},
		reply{raw: head("HTTP/1.1 413 Content Too Large", "Content-Length: 0", "Connection: close"), early: true, close: true},
		verdict{statuses: []string{"413|502"}, discarded: true, end: either})

	// The proxy answers. The body must not be taken for a request, whether it is read away or not.
	bad := func(first string, fields ...string) string {
		return head(append([]string{first + " HTTP/1.1", "Host: a.example"}, fields...)...)
	}
	length := fmt.Sprintf("Content-Length: %d", len(smuggled))
	for _, c := range []struct{ first, status string }{
		{"POST /%00", "400"}, {"POST /..", "400"}, {"GET /health", "200"}, {"TRACE /x", "405"},
	} {
		add("answered here: "+c.first, []string{bad(c.first, length) + smuggled}, reply{}, local(c.status, either))
		add("answered here, the body comes late: "+c.first, []string{bad(c.first, length), awaitAnswer, smuggled}, reply{},
			verdict{statuses: []string{c.status}, end: either})
		add("answered here, chunked: "+c.first, []string{bad(c.first, "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)},
			reply{}, local(c.status, either))
		add("answered here, bad chunks: "+c.first, []string{bad(c.first, "Transfer-Encoding: chunked") + "0x0\r\n\r\n" + smuggled},
			reply{}, local("400|"+c.status, closes))
	}
	for _, c := range []struct{ first, status string }{{"POST /%00", "400"}, {"GET /health", "200"}} {
		add("answered here, too large to read away: "+c.first, []string{bad(c.first, fmt.Sprintf("Content-Length: %d", 4*len(big))) + strings.Repeat(smuggled, 64)},
			reply{}, local(c.status, closes))
	}
	return rows
}

func tunnelRows() (rows []row) {
	add := func(name string, send []string, origin reply, want verdict) {
		rows = append(rows, row{class: tunnels, name: name, send: send, origin: []reply{origin}, want: want})
	}
	asks := func(protocol string, fields ...string) string {
		return head(append([]string{"GET /u HTTP/1.1", "Host: a.example", "Connection: upgrade", "Upgrade: " + protocol}, fields...)...)
	}
	switched := func(protocol string) string {
		return head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: "+protocol)
	}
	upgrade := received("GET /u", "", "Connection: Upgrade")

	// CVE-2026-2833, CVE-2024-23326: what follows an Upgrade is a request like any other until there is a 101.
	for _, status := range []string{"200 OK", "204 No Content", "304 Not Modified", "400 Bad Request", "403 Forbidden", "404 Not Found", "426 Upgrade Required", "500 Internal Server Error", "503 Service Unavailable"} {
		answer := head("HTTP/1.1 "+status, "Content-Length: 0")
		add("declined with "+status[:3]+", a request behind it", []string{asks("x") + smuggled}, reply{raw: answer},
			verdict{requests: []request{upgrade, received("GET /smuggled", "", "-Upgrade")}, statuses: []string{status[:3], "200"}})
		add("declined with "+status[:3]+", bytes behind it", []string{asks("x") + "\x00\x01\x02\x03"}, reply{raw: answer},
			verdict{requests: []request{upgrade}, statuses: []string{status[:3], "400"}, end: closes})
	}
	tunnel := func(text string) verdict {
		return verdict{requests: []request{upgrade}, statuses: []string{"101"}, tunnel: text, end: closes, discarded: true}
	}
	add("accepted", []string{asks("websocket"), awaitAnswer, "ping"}, reply{raw: switched("websocket"), switches: true}, tunnel("ping"))
	add("accepted, the client does not wait", []string{asks("websocket") + "ping"}, reply{raw: switched("websocket"), switches: true}, tunnel("ping"))
	add("accepted, a request goes into the tunnel", []string{asks("websocket") + smuggled}, reply{raw: switched("websocket"), switches: true}, tunnel(smuggled))
	add("accepted in another case", []string{asks("WebSocket") + "ping"}, reply{raw: switched("websocket"), switches: true}, tunnel("ping"))
	add("accepted of two", []string{asks("x, websocket") + "ping"}, reply{raw: switched("websocket"), switches: true}, tunnel("ping"))
	for i := range rows {
		rows[i].half = rows[i].want.tunnel != ""
	}

	// 101 to who did not ask for it. What follows is no tunnel.
	refused := func(r request) verdict { return desynced("502", r) }
	for name, request := range map[string]string{
		"nobody":                        get("/u"),
		"Upgrade without Connection":    head("GET /u HTTP/1.1", "Host: a.example", "Upgrade: websocket"),
		"Connection without Upgrade":    head("GET /u HTTP/1.1", "Host: a.example", "Connection: upgrade"),
		"an empty Upgrade":              head("GET /u HTTP/1.1", "Host: a.example", "Connection: upgrade", "Upgrade:"),
		"another word":                  head("GET /u HTTP/1.1", "Host: a.example", "Connection: upgrades", "Upgrade: websocket"),
		"an alias":                      head("GET /u HTTP/1.1", "Host: a.example", "Connection: upgrade", "Upgrade_: websocket"),
		"h2c (which nobody may tunnel)": asks("h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
		"h2c in a list":                 asks("websocket, h2c"),
		"h2c in another case":           asks("H2C"),
		"h2c, listed by Connection":     head("GET /u HTTP/1.1", "Host: a.example", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
	} {
		add("101 to "+name, []string{request}, reply{raw: switched("websocket")}, refused(received("GET /u", "", "-Upgrade", "-Connection")))
	}
	add("101 to HTTP/1.0", []string{head("GET /u HTTP/1.0", "Host: a.example", "Connection: upgrade, keep-alive", "Upgrade: websocket")}, reply{raw: switched("websocket")},
		refused(received("GET /u", "", "-Upgrade")))
	add("101 to a request with a body", []string{head("POST /u HTTP/1.1", "Host: a.example", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 3") + "abc"},
		reply{raw: switched("websocket")}, refused(received("POST /u", "abc", "-Upgrade")))
	add("101 with another protocol", []string{asks("websocket")}, reply{raw: switched("h2c")}, refused(upgrade))
	add("101 with a length", []string{asks("websocket")}, reply{raw: head("HTTP/1.1 101 x", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 3")}, refused(upgrade))
	add("101 with a coding", []string{asks("websocket")}, reply{raw: head("HTTP/1.1 101 x", "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked")}, refused(upgrade))
	return rows
}

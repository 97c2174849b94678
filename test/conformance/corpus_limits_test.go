package conformance

import (
	"fmt"
	"strings"
)

// limitRows are about heads that are larger than a stand's limits, or just as large.
func limitRows() (rows []row) {
	add := func(name, send string, want verdict) { rows = append(rows, one(sizes, name, send, want)) }
	x := func(n int) string { return strings.Repeat("x", n) }
	line := func(n int) string { return "GET /" + x(n-len("GET / HTTP/1.1")) + " HTTP/1.1" }
	pad := func(n int) string { // a head of n bytes
		start, end := "GET /x HTTP/1.1\r\nHost: a.example\r\nX: ", "\r\n\r\n"
		return start + x(n-len(start)-len(end)) + end
	}
	target := x(maxRequestLine - len("GET / HTTP/1.1"))
	add("the longest first line", head(line(maxRequestLine), "Host: a.example"), passes(received("GET /"+target, "")))
	add("the longest first line behind an empty one", "\r\n"+head(line(maxRequestLine), "Host: a.example"), passes(received("GET /"+target, "")))
	add("a first line too long by one", head(line(maxRequestLine+1), "Host: a.example")+smuggled, refused("414"))
	add("a first line too long by far", head(line(100<<10), "Host: a.example")+smuggled, refused("414"))
	add("a query too long", head("GET /?"+x(100<<10)+" HTTP/1.1", "Host: a.example")+smuggled, refused("414"))
	add("an absolute target too long", head("GET http://"+x(200)+"/"+x(100<<10)+" HTTP/1.1", "Host: a.example")+smuggled, refused("414"))
	add("a first line without end", "GET /"+x(1<<18), refused("414"))
	add("a method without end", x(1<<18), refused("400|414|501"))
	add("a version without end", "GET / HTTP/1."+strings.Repeat("1", 1<<18), refused("400|414|505"))
	add("the largest head", pad(maxHeaderBytes), passes(received("GET /x", "")))
	add("a head too large by one", pad(maxHeaderBytes+1)+smuggled, refused("431"))
	add("a head too large by far", pad(1<<18)+smuggled, refused("431"))
	add("a field without end", "GET / HTTP/1.1\r\nHost: a.example\r\nX: "+x(1<<18), refused("431"))
	add("a name without end", "GET / HTTP/1.1\r\nHost: a.example\r\n"+x(1<<18), refused("400|431"))
	add("a name too long", head("GET / HTTP/1.1", "Host: a.example", x(8000)+": y")+smuggled, refused("400|431"))
	add("white space without end", "GET / HTTP/1.1\r\nHost: a.example\r\nX:"+strings.Repeat(" ", 1<<18), refused("400|431"))
	add("white space that counts", head("GET / HTTP/1.1", "Host: a.example", "X:"+strings.Repeat(" ", maxHeaderBytes)+"y")+smuggled, refused("431"))
	fields := func(n int) string {
		return "GET /x HTTP/1.1\r\nHost: a.example\r\n" + strings.Repeat("X: y\r\n", n-1) + "\r\n"
	}
	add("the most fields", fields(maxHeaders), passes(received("GET /x", "")))
	add("a field too many", fields(maxHeaders+1)+smuggled, refused("431"))
	add("a thousand fields", fields(1000)+smuggled, refused("431"))
	add("fields without end", strings.TrimSuffix(fields(40000), "\r\n"), refused("431"))
	add("empty fields", "GET /x HTTP/1.1\r\nHost: a.example\r\n"+strings.Repeat("X:\r\n", 1000)+"\r\n", refused("431"))
	add("dropped fields count", "GET /x HTTP/1.1\r\nHost: a.example\r\n"+strings.Repeat("X_Y: z\r\n", 1000)+"\r\n", refused("431"))
	add("ten cookies of 1 KiB pass", head("GET /x HTTP/1.1", "Host: a.example", strings.TrimSuffix(strings.Repeat("Cookie: a="+x(1000)+"\r\n", 10), "\r\n")), passes(received("GET /x", "")))
	add("a long host", head("GET /x HTTP/1.1", "Host: "+x(10000))+smuggled, refused("400|431"))
	add("a body larger than any head", post(x(300000), "Content-Length: 300000"), passes(received("POST /p", x(300000))))
	add("a list without end in Connection", head("GET /x HTTP/1.1", "Host: a.example", "Connection: "+strings.Repeat("a,", 6000)), passes(received("GET /x", "", "-Connection")))
	return rows
}

// pipelineRows are about several requests on one connection, and about how connections end.
func pipelineRows() (rows []row) {
	add := func(name, send string, want verdict) { rows = append(rows, one(pipelines, name, send, want)) }
	a, b := received("GET /a", ""), received("GET /b", "")
	p := received("POST /p", "abc")
	length, chunks := post("abc", "Content-Length: 3"), chunked("3\r\nabc\r\n0\r\n\r\n")
	add("two", get("/a")+get("/b"), passes(a, b))
	add("with a body by length", length+get("/a"), passes(p, a))
	add("with a body in chunks", chunks+get("/a"), passes(p, a))
	add("bodies one behind the other", length+chunks+length+get("/a"), passes(p, p, p, a))
	add("with a trailer", chunked("3\r\nabc\r\n0\r\nX: y\r\n\r\n")+get("/a"), passes(func() request {
		r := p
		r.trailer = []string{"X: y"}
		return r
	}(), a))
	add("an empty line between", length+"\r\n"+get("/a"), passes(p, a))
	add("two empty lines between", length+"\r\n\r\n"+get("/a"), verdict{requests: []request{p}, statuses: []string{"200", "400"}, end: closes})
	add("HEAD first", head("HEAD /h HTTP/1.1", "Host: a.example")+get("/a"), passes(received("HEAD /h", ""), a))
	add("GET with a body first", head("GET /g HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc"+get("/a"), passes(received("GET /g", "abc"), a))
	add("a bad one behind", get("/a")+"GET / HTTP/1.1\r\n\r\n"+smuggled, verdict{requests: []request{a}, statuses: []string{"200", "400"}, end: closes})
	add("both framings behind", get("/a")+post("0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked")+smuggled, verdict{requests: []request{a}, statuses: []string{"200", "400"}, end: closes})
	add("a body longer than its length", post("abcGARBAGE", "Content-Length: 3")+"\r\n\r\n"+smuggled, verdict{requests: []request{p}, statuses: []string{"200", "400"}, end: closes})
	add("a request answered here between", get("/a")+get("/%00")+get("/b"), verdict{requests: []request{a, b}, statuses: []string{"200", "400", "200"}})
	var many verdict
	for range 50 {
		many.requests, many.statuses = append(many.requests, a), append(many.statuses, "200")
	}
	add("fifty", strings.Repeat(get("/a"), 50), many)
	for name, field := range map[string]string{"close": "Connection: close", "Close": "Connection: Close", "close in a list": "Connection: x, close", "close in two lines": "Connection: x\r\nConnection: close"} {
		add("nothing is served behind "+name, head("GET /a HTTP/1.1", "Host: a.example", field)+smuggled, passes(a).then(severed))
	}
	add("nothing is served behind HTTP/1.0", head("GET /a HTTP/1.0", "Host: a.example")+smuggled, passes(a).then(severed))
	add("two on HTTP/1.0 that is kept alive", head("GET /a HTTP/1.0", "Host: a.example", "Connection: keep-alive")+get("/b"), passes(a, b))
	add("a body behind close", post("abc"+smuggled, "Content-Length: 3", "Connection: close"), passes(p).then(severed))
	for i, text := range []string{get("/a"), get("/a") + get("/b"), length + get("/a")} {
		want := []verdict{passes(a), passes(a, b), passes(p, a)}[i].then(closes)
		rows = append(rows, row{class: pipelines, name: fmt.Sprintf("the client ends its side, %d", i), send: []string{text}, half: true, want: want})
	}
	rows = append(rows,
		row{class: pipelines, name: "the client ends within a head", send: []string{"GET /a HTTP/1.1\r\nHost:"}, half: true, want: verdict{end: closes}},
		row{class: pipelines, name: "the client ends in front of a head", send: []string{get("/a") + "G"}, half: true, want: passes(a).then(closes)},
		row{class: pipelines, name: "one behind the answer of the other", send: []string{length, awaitAnswer, chunks, awaitAnswer, get("/a")}, want: passes(p, p, a)},
		row{
			class: pipelines, name: "the endpoint closes behind each", send: []string{get("/a") + get("/b")}, want: passes(a, b),
			origin: []reply{{raw: ok("a", "Connection: close"), close: true}, {raw: ok("b", "Connection: close"), close: true}},
		},
		row{
			class: pipelines, name: "answers in the order of requests", send: []string{get("/a") + get("/b")},
			origin: []reply{{raw: head("HTTP/1.1 201 Created", "Content-Length: 0")}, {raw: head("HTTP/1.1 202 Accepted", "Content-Length: 0")}},
			want:   verdict{requests: []request{a, b}, statuses: []string{"201", "202"}},
		},
		row{
			class: pipelines, name: "a broken answer ends the connection", send: []string{get("/a") + get("/b")},
			origin: []reply{{raw: head("HTTP/1.1 200 OK", "Content-Length: 10") + "short", close: true}}, want: brokenOff("200", a),
		},
	)
	return rows
}

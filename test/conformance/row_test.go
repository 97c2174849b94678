package conformance

import "strings"

// A row is one case of the corpus.
type row struct {
	class string // what it tries; the classes are listed in classes
	name  string
	send  []string // the client's writes; await100 and awaitAnswer wait in between
	half  bool     // the client ends its side when it has sent everything
	from  string   // the client's address; empty: one that is not trusted

	origin []reply // to the requests in their order; the default is an echo

	stream *streamForm // over HTTP/2; send is then the body

	want verdict
}

// What a client waits for before it goes on.
const (
	await100    = "\x00100"    // an interim response 100
	awaitAnswer = "\x00answer" // one more final response
)

// A verdict is what must come of a row.
type verdict struct {
	// requests are what the endpoint must have received, whole and in this order. Nothing else may have arrived whole.
	requests []request
	// partial allows the start of one more request, which must then be cut off: a body may turn out bad after its head
	// has been forwarded.
	partial bool

	// statuses are those of the final responses, in their order; one entry may name several that are right: "400|501".
	statuses []string
	body     string // of the last response, where it is not empty
	end      ending
	// discarded says that the endpoint's connection must not be used again: the proxy has to close it.
	discarded bool
	// tunnel is what the endpoint must receive behind its 101; it is echoed to the client.
	tunnel string
	// fields that the last response must have, or, with a '-' in front, must not have; and all of its trailer.
	fields, trailer []string
	// interim are the statuses of the interim responses, where the row cares.
	interim []string
}

// An ending says what becomes of the client's connection.
type ending uint8

const (
	stays   ending = iota // and serves the next request
	closes                // cleanly, behind whole responses
	severed               // closed behind whole responses, if need be with a reset: the client sends what it must not
	either                // closed, or serving on
	aborted               // the last response breaks off: nobody may take it for whole
)

// A request is what an endpoint must have received.
type request struct {
	line    string // method and target
	host    string // empty: any
	body    string
	fields  []string // "Name: value" that must be there once, "-Name" that must not, or "~Name: value" with another value
	trailer []string // all of the trailer
}

// A reply is what the endpoint answers a request with.
type reply struct {
	raw   string // the bytes; empty: an echo of method and target
	first string // bytes in front of that, as soon as the request's head is there
	early bool   // before the request's body is read
	close bool   // then close the connection
	reset bool   // then reset it
	whole bool   // must not be cut into pieces: the row is about bytes that arrive together
	late  string // bytes that follow when the connection is idle
	// switches goes on as an echo of raw bytes behind raw, which is a 101.
	switches bool
}

// lines joins lines with CR LF, the last one without.
func lines(l ...string) string { return strings.Join(l, "\r\n") }

// head is a head of those lines, with its empty line.
func head(l ...string) string { return lines(l...) + "\r\n\r\n" }

// get is a request that nobody can object to.
func get(path string) string { return head("GET "+path+" HTTP/1.1", "Host: a.example") }

// post is a POST with further head lines, and what follows the head.
func post(body string, fields ...string) string {
	return head(append([]string{"POST /p HTTP/1.1", "Host: a.example"}, fields...)...) + body
}

// chunked is a POST whose body is framed by body.
func chunked(body string) string { return post(body, "Transfer-Encoding: chunked") }

// smuggled stands behind many bodies. It must never be taken for a request where its row says refused.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

// refused is the verdict on what must not be forwarded.
func refused(statuses ...string) verdict {
	return verdict{statuses: []string{strings.Join(statuses, "|")}, end: closes}
}

// brokenBody is the verdict on a body whose fault shows behind its head.
func brokenBody(statuses ...string) verdict {
	v := refused(statuses...)
	v.partial = true
	return v
}

// passes is the verdict on requests that are forwarded and answered with 200.
func passes(requests ...request) verdict {
	v := verdict{requests: requests}
	for range requests {
		v.statuses = append(v.statuses, "200")
	}
	return v
}

// local is the verdict on requests that the proxy answers itself.
func local(status string, end ending) verdict { return verdict{statuses: []string{status}, end: end} }

func (v verdict) then(end ending) verdict {
	v.end = end
	return v
}

// desynced is the verdict on a response after which the endpoint's connection is out of step.
func desynced(status string, requests ...request) verdict {
	return verdict{requests: requests, statuses: []string{status}, end: either, discarded: true}
}

// brokenOff is the verdict on a response whose body breaks off: the client must see that, or a 502 instead.
func brokenOff(status string, requests ...request) verdict {
	return verdict{requests: requests, statuses: []string{status + "|502"}, end: aborted, discarded: true}
}

// received builds the request that an endpoint must have received.
func received(line, body string, fields ...string) request {
	return request{line: line, body: body, fields: fields}
}

func (r request) at(host string) request {
	r.host = host
	return r
}

// one is a row with one write.
func one(class, name, send string, want verdict) row {
	return row{class: class, name: name, send: []string{send}, want: want}
}

// answered is a row about the response to a GET of /r.
func answered(name string, r reply, want verdict) row {
	return row{class: responseDesync, name: name, send: []string{get("/r")}, origin: []reply{r}, want: want}
}

// The classes.
const (
	oldProtocol    = "TE on HTTP/1.0"
	tunnels        = "tunnel before 101"
	unreadBody     = "answer with the body unread"
	chunkGrammar   = "chunk grammar"
	chunkBomb      = "chunk-extension bomb"
	lengthGrammar  = "CL grammar"
	codingDisguise = "TE obfuscation"
	lengthCoding   = "CL and TE"
	lineSyntax     = "line syntax"
	authority      = "host and target"
	connect        = "CONNECT and TRACE"
	expectation    = "Expect"
	responseDesync = "response desync"
	connectionList = "Connection abuse"
	trust          = "trust aliases"
	paths          = "path"
	sizes          = "limits"
	pipelines      = "pipelining and endings"
	trailers       = "trailers"
	published      = "published cases"
)

var classes = []string{
	oldProtocol, tunnels, unreadBody, chunkGrammar, chunkBomb, lengthGrammar, codingDisguise, lengthCoding, lineSyntax,
	authority, connect, expectation, responseDesync, connectionList, trust, paths, sizes, pipelines, trailers, published,
}

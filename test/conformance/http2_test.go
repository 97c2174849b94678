package conformance

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A streamRow is one request over HTTP/2, in front of an origin that speaks HTTP/1.1.
type streamRow struct {
	name    string
	fields  []string // name, value, name, value …
	body    []string // DATA frames
	trailer []string // nil: none

	status   string   // what the client must be told; several that are right: "400|reset"
	requests []string // "METHOD target body" that the origin must have received, whole
	absent   string   // what must not stand in what the origin received
	together bool     // only in one write: in pieces the first of them are a whole request
}

// pseudo is what begins a request that nobody can object to, but for what change says.
func pseudo(change ...string) []string {
	list := []string{":method", "POST", ":scheme", "http", ":authority", "a.example", ":path", "/p"}
	for i := 0; i+1 < len(change); i += 2 {
		at := slices.Index(list, change[i])
		if at < 0 {
			list = append(list, change[i:i+2]...)
		} else {
			list[at+1] = change[i+1]
		}
	}
	return list
}

func streamRows() []streamRow {
	const injected = "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
	rows := []streamRow{
		{name: "a body without a length", fields: pseudo(), body: []string{"ab", "c"}, status: "200", requests: []string{"POST /p abc"}},
		{name: "a body of its length", fields: pseudo("content-length", "3"), body: []string{"ab", "c"}, status: "200", requests: []string{"POST /p abc"}},
		{name: "a trailer", fields: pseudo(), body: []string{"abc"}, trailer: []string{"x-sum", "1", "content-length", "9", "host", "evil"}, status: "200", requests: []string{"POST /p abc"}, absent: "evil"},
		{name: "a body that looks like a request", fields: pseudo("content-length", fmt.Sprint(len(smuggled))), body: []string{smuggled}, status: "200", requests: []string{"POST /p " + smuggled}},
		{name: "underscores", fields: pseudo("content_length", "0", "transfer_encoding", "chunked"), body: []string{"abc"}, status: "200", requests: []string{"POST /p abc"}, absent: "_"},
	}
	refused := func(name string, fields []string, body ...string) {
		rows = append(rows, streamRow{name: name, fields: fields, body: body, status: "400|reset"})
	}
	// What HTTP/2 carries and HTTP/1.1 would take for its own framing.
	for _, name := range []string{"x", "user-agent", "cookie", "content-type", "accept"} {
		refused("CR LF in "+name, pseudo(name, "y"+injected), "abc")
		refused("LF in "+name, pseudo(name, "y\nTransfer-Encoding: chunked"), "abc")
		refused("CR in "+name, pseudo(name, "y\rTransfer-Encoding: chunked"), "abc")
		refused("NUL in "+name, pseudo(name, "y\x00"), "abc")
	}
	for _, name := range []string{"x\r\ntransfer-encoding: chunked\r\ny", "x: y\r\nz", "x:y", "x y", "transfer-encoding ", " transfer-encoding", "x\ny", "X-Upper", "x\x00", ""} {
		refused(fmt.Sprintf("name %q", name), pseudo(name, "z"), "abc")
	}
	for _, which := range []string{":method", ":path", ":authority", ":scheme"} {
		for _, text := range []string{injected, "\n", "\r", "\x00", " ", "\t", " HTTP/1.1\r\nX: y"} {
			refused(fmt.Sprintf("%q in %s", text, which), pseudo(which, "/p"+text), "abc")
			refused(fmt.Sprintf("%q alone in %s", text, which), pseudo(which, text), "abc")
		}
	}
	for _, path := range []string{"", "p", "http://b.example/", "//b.example\\@c", "/p#f", "*", "/é", "/../..", "/%zz"} {
		rows = append(rows, streamRow{name: fmt.Sprintf("path %q", path), fields: pseudo(":path", path), status: "400|reset"})
	}
	for _, host := range []string{"", "a.example:", "a.example:0", "a.example:x", "u@a.example", "a.example/p", "a.example, b.example", "[::1", "a..b", "a.example:80:80", "-\\"} {
		refused(fmt.Sprintf("authority %q", host), pseudo(":authority", host), "abc")
	}
	refused("Host is another", pseudo("host", "b.example"), "abc")
	refused("Host is another by its port", pseudo("host", "a.example:81"), "abc")
	refused("two Hosts", append(pseudo(), "host", "a.example", "host", "a.example"), "abc")
	refused("two authorities", append([]string{":authority", "b.example"}, pseudo()...), "abc")
	refused("two methods", append([]string{":method", "GET"}, pseudo()...), "abc")
	refused("an authority behind a field", []string{":method", "POST", ":scheme", "http", ":path", "/p", "x", "y", ":authority", "a.example"}, "abc")
	// Framing of HTTP/1.1.
	for _, field := range [][2]string{
		{"transfer-encoding", "chunked"},
		{"transfer-encoding", "identity"},
		{"transfer-encoding", ""},
		{"connection", "transfer-encoding"},
		{"connection", "close"},
		{"connection", "x-forwarded-for"},
		{"keep-alive", "timeout=5"},
		{"proxy-connection", "keep-alive"},
		{"upgrade", "h2c"},
		{"upgrade", "websocket"},
		{"te", "chunked"},
		{"te", "trailers, chunked"},
		{"te", "gzip"},
	} {
		refused(field[0]+": "+field[1], pseudo(field[0], field[1]), "0\r\n\r\n"+smuggled)
	}
	// Content-Length is checked at the end of the stream.
	for _, length := range []string{"0", "2"} {
		refused("Content-Length "+length+" of 3 bytes", pseudo("content-length", length), "ab", "c")
		rows[len(rows)-1].together = true
	}
	for _, length := range []string{"4", "1000", "-1", "+3", "3,3", "3, 3", "0x3", "3 ", " 3", "3\t", "", "99999999999999999999", "٣"} {
		refused(fmt.Sprintf("Content-Length %q of 3 bytes", length), pseudo("content-length", length), "ab", "c")
	}
	refused("two Content-Lengths", append(pseudo("content-length", "3"), "content-length", "3"), "abc")
	refused("two Content-Lengths that differ", append(pseudo("content-length", "3"), "content-length", "0"), "abc")
	refused("a length without a body", pseudo("content-length", "5"))
	rows = append(rows,
		streamRow{name: "a length and a trailer too early", fields: pseudo("content-length", "5"), body: []string{"abc"}, trailer: []string{"x", "y"}, status: "400|reset"},
		streamRow{name: "Connection in a trailer", fields: pseudo(), body: []string{"abc"}, trailer: []string{"connection", "close"}, status: "400|reset"},
		streamRow{name: "Transfer-Encoding in a trailer", fields: pseudo(), body: []string{"abc"}, trailer: []string{"transfer-encoding", "chunked"}, status: "400|reset"},
		streamRow{name: "pseudo-header in a trailer", fields: pseudo(), body: []string{"abc"}, trailer: []string{":path", "/x"}, status: "400|reset"},
		streamRow{name: "CR LF in a trailer", fields: pseudo(), body: []string{"abc"}, trailer: []string{"x", "y" + injected}, status: "400|reset"},
		streamRow{name: "CONNECT", fields: []string{":method", "CONNECT", ":authority", "a.example:80"}, status: "405"},
		streamRow{name: "TRACE", fields: pseudo(":method", "TRACE"), status: "405"},
		streamRow{name: "CONNECT for udp", fields: pseudo(":method", "CONNECT", ":protocol", "connect-udp"), status: "501"},
		streamRow{name: "an odd expectation", fields: pseudo("expect", "200-ok"), body: []string{"abc"}, status: "417"},
		// The origin does not answer 101: its 2xx must not look like a tunnel.
		streamRow{name: "WebSocket that is refused", fields: pseudo(":method", "CONNECT", ":protocol", "websocket"), status: "502", requests: []string{"GET /p "}},
	)
	return rows
}

// TestHTTP2ToHTTP1 judges what of HTTP/2 reaches an origin of HTTP/1.1, by the origin's bytes.
func TestHTTP2ToHTTP1(t *testing.T) {
	pool := &stands{}
	t.Cleanup(func() { pool.close(t) })
	for _, r := range streamRows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, split := range []bool{false, true} { // in one write, and with time in between
				if split && r.together {
					continue
				}
				s := pool.take(t)
				if problems := r.try(t, s, split); len(problems) > 0 {
					t.Fatalf("split %t:\n%s", split, strings.Join(problems, "\n"))
				}
				pool.give(s)
			}
		})
	}
}

func (r *streamRow) try(t *testing.T, s *stand, split bool) (problems []string) {
	t.Helper()
	wrong := func(format string, arguments ...any) { problems = append(problems, fmt.Sprintf(format, arguments...)) }
	s.origin.begin(nil, nil, plain)
	if got, err := r.converse(s.address, split); err != nil {
		wrong("%v", err)
	} else if !slices.Contains(strings.Split(r.status, "|"), got) {
		wrong("the client was told %s and not %s", got, r.status)
	}
	if err := s.origin.flush(); err != nil {
		wrong("the origin: %v", err)
	}
	for range 2 {
		other := dial(t, s, plain, "")
		if err := victim(other); err != nil {
			wrong("another client: %v", err)
		}
		other.close()
	}
	if !s.origin.await(func() bool {
		return !slices.ContainsFunc(s.origin.conns, func(c *originConn) bool { return c.state == busy || c.pending() })
	}) {
		wrong("the origin is still busy")
	}
	s.origin.mu.Lock()
	defer s.origin.mu.Unlock()
	for _, fault := range s.origin.faults {
		wrong("the origin: %s", fault)
	}
	var seen []string
	for _, m := range s.origin.seen {
		seen = append(seen, m.method+" "+m.target+" "+string(m.body))
		if r.absent != "" && bytes.Contains(m.raw, []byte(r.absent)) {
			wrong("the origin received %q", m.raw)
		}
	}
	if !slices.Equal(seen, r.requests) {
		wrong("the origin received %q and not %q", seen, r.requests)
	}
	return problems
}

// converse sends the request, and returns the status that came of it, or "reset" where the stream was reset.
func (r *streamRow) converse(address string, split bool) (string, error) {
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = nc.(*net.TCPConn).SetLinger(0); _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	var out, block bytes.Buffer
	framer := http2.NewFramer(&out, nc)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	encoder := hpack.NewEncoder(&block)
	encode := func(list []string) []byte {
		block.Reset()
		for i := 0; i+1 < len(list); i += 2 {
			_ = encoder.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
		}
		return bytes.Clone(block.Bytes())
	}
	send := func() {
		_, _ = nc.Write(out.Bytes()) // the answer tells
		out.Reset()
		if split {
			time.Sleep(5 * time.Millisecond) // so that what follows is read apart; nothing depends on it
		}
	}
	out.WriteString(http2.ClientPreface)
	_ = framer.WriteSettings()
	ends := len(r.body) == 0 && r.trailer == nil
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(r.fields), EndStream: ends, EndHeaders: true})
	for i, data := range r.body {
		if split {
			send()
		}
		_ = framer.WriteData(1, i == len(r.body)-1 && r.trailer == nil, []byte(data))
	}
	if r.trailer != nil {
		if split {
			send()
		}
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(r.trailer), EndStream: true, EndHeaders: true})
	}
	send()
	status := ""
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return "", fmt.Errorf("behind %q: %w", status, err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if status == "400" {
				return status, nil // and reset behind it
			}
			return "reset", nil
		case *http2.GoAwayFrame:
			return "", fmt.Errorf("GOAWAY %v", f.ErrCode)
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			if f.StreamEnded() {
				return status, nil
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status, nil
			}
		}
	}
}

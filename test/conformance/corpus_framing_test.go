package conformance

import (
	"fmt"
	"strings"
)

// framingRows are about messages whose length two readers may find in different places.
func framingRows() (rows []row) {
	add := func(class, name, send string, want verdict) { rows = append(rows, one(class, name, send, want)) }

	// RFC 9112 §6.1: Transfer-Encoding in an HTTP/1.0 message is faulty framing.
	for _, connection := range []string{"keep-alive", "close", ""} {
		fields := []string{"POST /p HTTP/1.0", "Host: a.example", "Transfer-Encoding: chunked"}
		name := "chunked, no Connection"
		if connection != "" {
			fields = append(fields, "Connection: "+connection)
			name = "chunked, Connection " + connection
		}
		add(oldProtocol, name, head(fields...)+"0\r\n\r\n"+smuggled, refused("400"))
		add(oldProtocol, name+", with Content-Length", head(append(fields, "Content-Length: 5")...)+"0\r\n\r\n"+smuggled, refused("400"))
	}
	add(oldProtocol, "identity", head("POST /p HTTP/1.0", "Transfer-Encoding: identity", "Content-Length: 3")+"abc", refused("400"))
	add(oldProtocol, "unknown coding", head("POST /p HTTP/1.0", "Transfer-Encoding: x")+"abc", refused("400|501"))
	add(oldProtocol, "a body until the end of the connection is none", head("POST /p HTTP/1.0", "Host: a.example")+"abc",
		passes(received("POST /p", "", "Content-Length: 0")).then(severed))
	add(oldProtocol, "nor is it one that is kept alive", head("POST /p HTTP/1.0", "Host: a.example", "Connection: keep-alive")+
		"abc\r\n\r\n", verdict{requests: []request{received("POST /p", "")}, statuses: []string{"200", "400"}, end: closes})
	add(oldProtocol, "Content-Length", head("POST /p HTTP/1.0", "Host: a.example", "Content-Length: 3")+"abc",
		passes(received("POST /p", "abc")).then(closes))
	add(oldProtocol, "Content-Length, kept alive", head("POST /p HTTP/1.0", "Host: a.example", "Content-Length: 3", "Connection: keep-alive")+
		"abc", passes(received("POST /p", "abc")))
	add(oldProtocol, "no Host", head("GET /x HTTP/1.0"), passes(received("GET /x", "")).then(closes))

	// RFC 9112 §6.3: Content-Length is 1*DIGIT. What is forwarded is one canonical number.
	for _, value := range []string{
		"+3", "-0", "-3", "1_0", "3, 4", "3,3", "3, 3", "3,", ",3", "0x3", "3 3", "3.0", "3e0", "0b11", "\"3\"", "'3'", "3;",
		"3 ;a", "three", "", " ", "\t", "٣", "3\v", "\v3", "3\x00", "3\x1c", "\xa03", "3\xa0", "99999999999999999999",
		"18446744073709551619", "9223372036854775808", "1000000000000000000000000000003", "NaN", "Infinity", "3\r", "0 3", "+0",
	} {
		add(lengthGrammar, fmt.Sprintf("%q", value), post("abc"+smuggled, "Content-Length: "+value), refused("400"))
	}
	for _, pair := range [][2]string{{"3", "4"}, {"3", "3"}, {"0", "3"}, {"3", "0"}, {"3", ""}, {"3", "+3"}, {"03", "3"}} {
		add(lengthGrammar, fmt.Sprintf("%q and %q", pair[0], pair[1]),
			post("abc"+smuggled, "Content-Length: "+pair[0], "Content-Length: "+pair[1]), refused("400"))
		add(lengthGrammar, fmt.Sprintf("%q and %q in another case", pair[0], pair[1]),
			post("abc"+smuggled, "Content-Length: "+pair[0], "CONTENT-LENGTH: "+pair[1]), refused("400"))
	}
	for _, field := range []string{
		"Content-Length : 3", "Content-Length\t: 3", "Content-Length\x00: 3", " Content-Length: 3", "Content-Length 3",
		"\tContent-Length: 3", "Content-Length\v: 3", "Content Length: 3", "Content-Length\r: 3", "\x00Content-Length: 3",
		"Content-Length\xa0: 3", "\"Content-Length\": 3", "Content-Length;: 3", "(a)Content-Length: 3",
	} {
		add(lengthGrammar, fmt.Sprintf("the line %q", field), post("abc"+smuggled, field), refused("400"))
		add(lengthGrammar, fmt.Sprintf("the line %q behind another", field), post("abc"+smuggled, "Content-Length: 3", field), refused("400"))
	}
	add(lengthGrammar, "folded", post("abc"+smuggled, "Content-Length:\r\n 3"), refused("400"))
	add(lengthGrammar, "folded in two", post(strings.Repeat("a", 33), "Content-Length: 3\r\n 3"), refused("400"))
	add(lengthGrammar, "alias", post("", "Content_Length: 3"), passes(received("POST /p", "", "Content-Length: 0", "-Content_Length")))
	add(lengthGrammar, "alias beside it", post("abc", "Content_Length: 30", "Content-Length: 3"), passes(received("POST /p", "abc", "Content-Length: 3")))
	for value, canonical := range map[string]string{
		"3": "3", "03": "3", "0000000003": "3", " 3": "3", "\t3\t ": "3",
	} {
		add(lengthGrammar, fmt.Sprintf("canonical of %q", value), post("abc", "Content-Length:"+value),
			passes(received("POST /p", "abc", "Content-Length: "+canonical)))
	}
	add(lengthGrammar, "zero", post("", "Content-Length: 0"), passes(received("POST /p", "", "Content-Length: 0")))
	add(lengthGrammar, "zeros", post("", "Content-Length: 000"), passes(received("POST /p", "", "Content-Length: 0")))
	add(lengthGrammar, "of a GET", head("GET /p HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc", passes(received("GET /p", "abc")))
	add(lengthGrammar, "of a HEAD", head("HEAD /p HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc", passes(received("HEAD /p", "abc")))
	add(lengthGrammar, "of a DELETE", head("DELETE /p HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc", passes(received("DELETE /p", "abc")))
	add(lengthGrammar, "of OPTIONS *", head("OPTIONS * HTTP/1.1", "Host: a.example", "Content-Length: 3")+"abc", passes(received("OPTIONS *", "abc")))
	add(lengthGrammar, "a body that looks like a request",
		post(smuggled, fmt.Sprintf("Content-Length: %d", len(smuggled))), passes(received("POST /p", smuggled)))
	add(lengthGrammar, "lower case name", post("abc", "content-length: 3"), passes(received("POST /p", "abc", "Content-Length: 3")))
	rows = append(rows, row{
		class: lengthGrammar, name: "a body that ends early", send: []string{post("abc", "Content-Length: 10")}, half: true,
		want: verdict{partial: true, end: closes},
	})

	// RFC 9112 §6.1: both is an attempt at smuggling.
	for _, c := range []struct{ name, body string }{
		{"CL.TE", "0\r\n\r\nG"}, {"TE.CL", "8\r\nSMUGGLED\r\n0\r\n\r\n"}, {"a whole request", "0\r\n\r\n" + smuggled}, {"nothing", ""},
	} {
		for _, length := range []string{"0", "3", "6", "100"} {
			add(lengthCoding, c.name+", CL first, "+length, post(c.body, "Content-Length: "+length, "Transfer-Encoding: chunked"), refused("400"))
			add(lengthCoding, c.name+", TE first, "+length, post(c.body, "Transfer-Encoding: chunked", "Content-Length: "+length), refused("400"))
		}
	}
	add(lengthCoding, "far apart", post("0\r\n\r\n", "Content-Length: 5", "A: 1", "B: 2", "C: 3", "transfer-encoding: CHUNKED"), refused("400"))
	add(lengthCoding, "on a GET", head("GET / HTTP/1.1", "Host: a.example", "Content-Length: 5", "Transfer-Encoding: chunked")+"0\r\n\r\n", refused("400"))
	add(lengthCoding, "one listed by Connection", post("0\r\n\r\n"+smuggled, "Connection: content-length", "Content-Length: 5", "Transfer-Encoding: chunked"), refused("400"))
	add(lengthCoding, "the other listed by Connection", post("0\r\n\r\n"+smuggled, "Connection: transfer-encoding", "Content-Length: 5", "Transfer-Encoding: chunked"), refused("400"))
	add(lengthCoding, "identity and a length", post("abc", "Transfer-Encoding: identity", "Content-Length: 3"), refused("400|501"))
	add(lengthCoding, "unknown and a length", post("abc", "Transfer-Encoding: x", "Content-Length: 3"), refused("400|501"))
	add(lengthCoding, "aliased coding and a length", post("0\r\n", "Transfer_Encoding: chunked", "Content-Length: 3"), passes(received("POST /p", "0\r\n")))
	return rows
}

// codingRows are about Transfer-Encoding in disguise: who sees chunked in it and who does not.
func codingRows() (rows []row) {
	add := func(name, send string, want verdict) { rows = append(rows, one(codingDisguise, name, send, want)) }
	for _, value := range []string{
		"", " ", "xchunked", "chunkedx", "chunked chunked", ",chunked", "chunked,", "chunked, ", ", chunked", "chunked,,", "chunked;a=b",
		"chunked;", "chunked ;q=1", "identity", "chunked, identity", "identity, chunked", "chunked, chunked", "gzip", "gzip, chunked",
		"chunked, gzip", "x", "cow", "\"chunked\"", "'chunked'", "chun ked", "c\x68unk", "chunKed\x00", "\x00chunked", "chunked\v",
		"\vchunked", "\fchunked", "chunked\f", "\x1fchunked", "\x7fchunked", "chunked\x7f", "chunked\x85", "\xa0chunked", "chunked\xa0",
		"chun\u212aed", "chunke\u0064\u0307", "chunked\x01", "trailers", "chunked\ttrailers", "deflate", "\b chunked", "{chunked}",
		"chunked, cow", "cow, chunked", "chunked#", "0", "true", "none", "null", "chunked\r", "\tchunked", "chunked\t",
		"chunked ", "  chunked", " \tchunked",
	} {
		add(fmt.Sprintf("%q", value), post("0\r\n\r\n"+smuggled, "Transfer-Encoding:"+lead(value)), refused("400|501"))
	}
	for _, field := range []string{
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
		"Transfer-Encoding\v: chunked", "Transfer-Encoding\x00: chunked", "\x00Transfer-Encoding: chunked", "Transfer-Encoding\r: chunked",
		"Transfer-Encoding\xa0: chunked", "Transfer Encoding: chunked", "Transfer-Encoding chunked", "Transfer-Encoding",
		"Transfer-Encoding\r\n: chunked", "Transfer\r-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked",
		"\rTransfer-Encoding: chunked", "\"Transfer-Encoding\": chunked", "[Transfer-Encoding]: chunked", "Transfer-Encoding\x1f: chunked",
		"Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\r\n\tchunked", "Transfer-Encoding: x\r\n chunked", "Transfer-Encoding: chunked\r\n x",
		"Transfer-Encoding:\x00chunked", "Transfer-Encoding:\x0bchunked", "X: y\r\n Transfer-Encoding: chunked", "Foo: bar\r\n\tchunked",
		"Transfer-Encoding: chunked\nX: y", "Transfer-Encoding\n: chunked", ": chunked", "Transfer-Encoding=chunked: x y",
		"Transfer/Encoding: chunked", "Transfer-Encoding,: chunked", "(Transfer)-Encoding: chunked", "Transfer-Encoding@: chunked",
	} {
		add(fmt.Sprintf("the line %q", field), post("0\r\n\r\n"+smuggled, field), refused("400|501"))
	}
	for _, pair := range [][2]string{
		{"chunked", "chunked"},
		{"chunked", "x"},
		{"x", "chunked"},
		{"chunked", "identity"},
		{"identity", "chunked"},
		{"gzip", "chunked"},
		{"chunked", ""},
		{"", "chunked"},
	} {
		add(fmt.Sprintf("two lines, %q and %q", pair[0], pair[1]),
			post("0\r\n\r\n"+smuggled, "Transfer-Encoding: "+pair[0], "Transfer-encoding: "+pair[1]), refused("400|501"))
	}
	// A name with an underscore is dropped: what is left has no body.
	for _, name := range []string{"Transfer_Encoding", "transfer_encoding", "TRANSFER_ENCODING", "_Transfer-Encoding", "Transfer-Encoding_"} {
		add("alias "+name, post("", name+": chunked"), passes(received("POST /p", "", "Content-Length: 0", "-"+name, "-Transfer-Encoding")))
		add("alias "+name+" with what follows", post("0\r\n\r\n", name+": chunked"),
			verdict{requests: []request{received("POST /p", "")}, statuses: []string{"200", "400"}, end: closes})
	}
	// A name that is no alias is somebody else's field.
	add("another name", post("", "X-Transfer-Encoding: chunked"), passes(received("POST /p", "", "Content-Length: 0", "X-Transfer-Encoding: chunked")))
	for _, field := range []string{"Transfer-Encoding: chunked", "Transfer-Encoding:chunked", "transfer-encoding: Chunked", "TRANSFER-ENCODING: CHUNKED"} {
		add("plain, "+field, post("3\r\nabc\r\n0\r\n\r\n", field), passes(received("POST /p", "abc", "Transfer-Encoding: chunked", "-Content-Length")))
	}
	add("of a GET", head("GET /p HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n", passes(received("GET /p", "abc")))
	add("of a HEAD", head("HEAD /p HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked")+"0\r\n\r\n", passes(received("HEAD /p", "")))
	return rows
}

// lead puts the usual space in front of a value that brings no white space of its own.
func lead(value string) string {
	if value != "" && strings.ContainsAny(value[:1], " \t") {
		return value
	}
	return " " + value
}

// chunkRows are about the grammar of chunked bodies (RFC 9112 §7.1).
func chunkRows() (rows []row) {
	add := func(name, body string, want verdict) {
		rows = append(rows, one(chunkGrammar, name, chunked(body), want))
	}
	for _, size := range []string{
		"0x3", "0X3", "+3", "-3", "0_3", "3_", "3 ", "3\t", " 3", "\t3", "3 ;a=b", "3\v", "3\x00", "\x003", "3h", "g", "", ";a=b", "3,", "3.0", "3:",
		"3=", "\"3\"", "3 3", "10000000000000003", "100000000000000000000000000000003", "FFFFFFFFFFFFFFFF", "8000000000000003",
		"00000000000000000000000000000003", "3\xa0", "３", "3\r", "\r3", "3\x85", "x3", "3l", "-0", "#3", "&h3",
	} {
		add(fmt.Sprintf("size %q", size), size+"\r\nabc\r\n0\r\n\r\n"+smuggled, brokenBody("400"))
	}
	for _, c := range []struct{ name, body string }{
		{"size line ends in LF", "3\nabc\r\n0\r\n\r\n"},
		{"size line ends in CR", "3\rabc\r\n0\r\n\r\n"},
		{"size line ends in CR CR LF", "3\r\r\nabc\r\n0\r\n\r\n"},
		{"size line ends in LF CR", "3\n\rabc\r\n0\r\n\r\n"},
		{"data ends in LF", "3\r\nabc\n0\r\n\r\n"},
		{"data ends in CR", "3\r\nabc\r0\r\n\r\n"},
		{"data ends in nothing", "3\r\nabc0\r\n\r\n"},
		{"data ends in two letters", "3\r\nabcXX0\r\n\r\n"},
		{"data is longer than its size", "3\r\nabcd\r\n0\r\n\r\n"},
		{"data is shorter than its size", "5\r\nabc\r\n0\r\n\r\n"},
		{"size 2 of terminated by LF (TERM.EXT)", "2\r\nxx0\r\n\r\n" + smuggled},
		{"empty line in front", "\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"empty line between", "3\r\nabc\r\n\r\n0\r\n\r\n"},
		{"last chunk ends in LF", "3\r\nabc\r\n0\n\r\n"},
		{"end ends in LF", "3\r\nabc\r\n0\r\n\n" + smuggled},
		{"end is CR", "3\r\nabc\r\n0\r\n\rX" + smuggled},
		{"extension holds LF", "3;a\nb=c\r\nabc\r\n0\r\n\r\n"},
		{"extension ends in LF (EXT.TERM)", "3;a\nabc\r\n0\r\n\r\n"},
		{"extension holds CR", "3;a\rb\r\nabc\r\n0\r\n\r\n"},
		{"extension holds NUL", "3;a\x00b\r\nabc\r\n0\r\n\r\n"},
		{"extension holds DEL", "3;a\x7f\r\nabc\r\n0\r\n\r\n"},
		{"extension holds VT", "3;a\v\r\nabc\r\n0\r\n\r\n"},
		{"quoted extension holds CR LF", "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n"},
		{"extension of the last chunk holds LF", "3\r\nabc\r\n0;a\nb\r\n\r\n"},
		{"extension behind a space", "3 ;a\r\nabc\r\n0\r\n\r\n"},
		{"LF hides a second body", "5;\n\r\nxxxxx\r\n0\r\n\r\n" + smuggled},
		{"bare semicolon LF hides a request", "3;\nxxx\r\n2f\r\n" + "0\r\n\r\n" + smuggled},
	} {
		add(c.name, c.body, brokenBody("400"))
	}
	for _, c := range []struct{ name, body, want string }{
		{"one", "3\r\nabc\r\n0\r\n\r\n", "abc"},
		{"none", "0\r\n\r\n", ""},
		{"upper case", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
		{"lower case", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
		{"leading zeros", "0003\r\nabc\r\n0\r\n\r\n", "abc"},
		{"many zeros at the end", "3\r\nabc\r\n00000\r\n\r\n", "abc"},
		{"three", "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"},
		{"extension", "3;a=b\r\nabc\r\n0\r\n\r\n", "abc"},
		{"empty extension", "3;\r\nabc\r\n0\r\n\r\n", "abc"},
		{"quoted extension", "3;a=\"0\"\r\nabc\r\n0;x=y\r\n\r\n", "abc"},
		{"extension behind white space", "3; a = b\t\r\nabc\r\n0\r\n\r\n", "abc"},
		{"extensions", "3;a;b;c=d\r\nabc\r\n0\r\n\r\n", "abc"},
		{"data that looks like chunks", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n"},
		{"data that looks like a request", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), smuggled},
		{"a large chunk", "4000\r\n" + strings.Repeat("x", 0x4000) + "\r\n0\r\n\r\n", strings.Repeat("x", 0x4000)},
	} {
		add("canonical: "+c.name, c.body, passes(received("POST /p", c.want, "Transfer-Encoding: chunked", "-Content-Length")))
	}
	rows = append(rows,
		row{
			class: chunkGrammar, name: "the connection ends within a chunk", send: []string{chunked("5\r\nabc")}, half: true,
			want: verdict{partial: true, end: closes},
		},
		row{
			class: chunkGrammar, name: "the connection ends in front of the last chunk", send: []string{chunked("3\r\nabc\r\n")}, half: true,
			want: verdict{partial: true, end: closes},
		},
		row{
			class: chunkGrammar, name: "the connection ends within the trailer", send: []string{chunked("3\r\nabc\r\n0\r\nX: y\r\n")}, half: true,
			want: verdict{partial: true, end: closes},
		},
	)

	// CVE-2023-39326: framing that costs far more than the data it frames.
	bomb := func(name, body string, want verdict) { rows = append(rows, one(chunkBomb, name, chunked(body), want)) }
	tiny := func(extension string, n int) string {
		return strings.Repeat("1;"+extension+"\r\nx\r\n", n) + "0\r\n\r\n"
	}
	bomb("1-byte chunks with 4 KiB", tiny(strings.Repeat("a", 4096), 8), brokenBody("400"))
	bomb("1-byte chunks with 1000 bytes", tiny(strings.Repeat("a", 1000), 64), brokenBody("400"))
	bomb("1-byte chunks with 100 bytes", tiny(strings.Repeat("a", 100), 1000), brokenBody("400"))
	bomb("1-byte chunks with 60 bytes", tiny(strings.Repeat("a", 60), 2000), brokenBody("400"))
	bomb("one extension without end", "1;"+strings.Repeat("a", 1<<17), brokenBody("400"))
	bomb("one extension of the last chunk", "1\r\nx\r\n0;"+strings.Repeat("a", 1<<16)+"\r\n\r\n", brokenBody("400"))
	bomb("quoted", tiny(`a="`+strings.Repeat(";", 900)+`"`, 64), brokenBody("400"))
	bomb("leading zeros", strings.Repeat("000000000000001\r\nx\r\n", 10000), brokenBody("400"))
	bomb("credit earned first", "4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n"+tiny(strings.Repeat("a", 1000), 64), brokenBody("400"))
	bomb("small chunks are legitimate", strings.Repeat("1\r\nx\r\n", 2000)+"0\r\n\r\n", passes(received("POST /p", strings.Repeat("x", 2000))))
	bomb("so are extensions in proportion", strings.Repeat("40;a=b\r\n"+strings.Repeat("x", 0x40)+"\r\n", 100)+"0\r\n\r\n",
		passes(received("POST /p", strings.Repeat("x", 6400))))
	return rows
}

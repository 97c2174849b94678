package conformance

import (
	"slices"
	"strconv"
	"strings"
)

// A streamForm is what a row sends over HTTP/2.
type streamForm struct {
	fields  [][2]string // the pseudo-headers first
	trailer [][2]string
	ends    bool // the stream is ended behind the last write
}

// overHTTP2 gives a row the form that it has over HTTP/2, where it has one: one request whose head can be put into fields.
// What HTTP/1.1 frames by itself, as chunks, first lines and several requests in a row, has none. The verdict is the same,
// but for what RFC 9113 says of HTTP/2 alone: fields of the connection are malformed (§8.2.2), targets have a path (§8.3.1),
// and what is malformed may be told by a reset (§8.1.1).
func (r row) overHTTP2() (row, bool) {
	if slices.Contains([]string{chunkGrammar, chunkBomb, sizes}, r.class) || len(r.want.statuses) != 1 || len(r.want.requests) > 1 {
		return r, false
	}
	head, rest, found := strings.Cut(r.send[0], "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := strings.Split(lines[0], " ")
	if !found || len(first) != 3 || first[2] != "HTTP/1.1" || len(r.send[0]) > 16000 {
		return r, false
	}
	form := &streamForm{}
	hosts, malformed, ok := form.addFields(lines[1:])
	if !ok {
		return r, false
	}
	switch {
	case first[0] == "CONNECT":
		hosts = []string{first[1]}
	case !strings.HasPrefix(first[1], "/") && (first[0] != "OPTIONS" || first[1] != "*"):
		malformed = true
		fallthrough
	default:
		form.pseudo(":path", first[1])
		form.pseudo(":scheme", "https")
	}
	switch len(hosts) {
	case 0:
	case 1:
		form.pseudo(":authority", hosts[0])
	default:
		for _, host := range hosts {
			form.fields = append(form.fields, [2]string{"host", host})
		}
	}
	form.pseudo(":method", first[0])

	if r.class == trailers && len(r.want.requests)+len(r.origin) > 0 || r.class == trailers && r.want.partial {
		if body, trailer, chunked := strings.Cut(rest, "\r\n0\r\n"); chunked {
			if rest, ok = strings.CutPrefix(body, "3\r\n"); !ok || !form.addTrailer(trailer) {
				return r, false
			}
			form.fields = slices.DeleteFunc(form.fields, func(f [2]string) bool { return f[0] == "transfer-encoding" })
			malformed = slices.ContainsFunc(form.trailer, ofConnection)
			r.want.partial = r.want.partial || malformed
		}
	}
	r.send = append([]string{form.body(&r, rest)}, r.send[1:]...)
	r.stream = form
	r.want = r.want.overHTTP2(malformed)
	return r, true
}

func (f *streamForm) pseudo(name, value string) {
	f.fields = slices.Insert(f.fields, 0, [2]string{name, value})
}

// field is a field line as HTTP/2 has it. A line without a colon has no form there.
func field(line string) (f [2]string, ok bool) {
	name, value, ok := strings.Cut(line, ":")
	if !ok && isToken(name) {
		return f, false
	}
	return [2]string{strings.ToLower(name), strings.Trim(value, " \t")}, true
}

// ofConnection tells fields that are malformed in HTTP/2 (RFC 9113 §8.2.2).
func ofConnection(f [2]string) bool {
	switch f[0] {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	case "te":
		return f[1] != "trailers"
	}
	return false
}

func (f *streamForm) addFields(lines []string) (hosts []string, malformed, ok bool) {
	for _, line := range lines {
		line, ok := field(line)
		if !ok {
			return nil, false, false
		}
		malformed = malformed || ofConnection(line)
		if line[0] == "host" {
			hosts = append(hosts, line[1])
			continue
		}
		f.fields = append(f.fields, line)
	}
	return hosts, malformed, true
}

func (f *streamForm) addTrailer(section string) bool {
	section, _, found := strings.Cut(section, "\r\n\r\n")
	if !found {
		return false
	}
	for line := range strings.SplitSeq(section, "\r\n") {
		line, ok := field(line)
		if !ok {
			return false
		}
		f.trailer = append(f.trailer, line)
	}
	return len(section) < 4000
}

// body returns what of the bytes behind the head is the row's body, and notes whether the stream ends behind all writes.
func (f *streamForm) body(r *row, rest string) string {
	length, found := -1, false
	for _, field := range f.fields {
		if field[0] == "content-length" {
			found = true
			if n, err := strconv.ParseUint(field[1], 10, 31); err == nil {
				length = int(n)
			}
		}
	}
	total := len(rest)
	for _, more := range r.send[1:] {
		if !strings.HasPrefix(more, "\x00") {
			total += len(more)
		}
	}
	switch {
	case len(f.trailer) > 0:
		return rest
	case !found: // nothing announces a body: what follows the head is none
		f.ends = true
		return ""
	case length >= 0 && length <= total && len(r.want.requests) > 0: // what follows the body is not the row's
		f.ends = true
		return rest[:min(length, len(rest))]
	}
	f.ends = r.half || length <= total
	return rest
}

// overHTTP2 is the verdict over HTTP/2, where the end of a stream is not the end of its connection.
func (v verdict) overHTTP2(malformed bool) verdict {
	if malformed {
		partial := v.partial
		v = refused("400")
		v.partial = partial
	}
	if strings.Contains(v.statuses[0], "400") || strings.Contains(v.statuses[0], "417") {
		v.statuses = []string{v.statuses[0] + "|400|reset"}
	}
	if v.end != aborted {
		v.end = stays
	}
	v.fields = slices.DeleteFunc(slices.Clone(v.fields), func(f string) bool { return strings.HasPrefix(f, "Transfer-Encoding: ") })
	v.requests = slices.Clone(v.requests)
	for i := range v.requests {
		v.requests[i].trailer = lowered(v.requests[i].trailer)
	}
	v.trailer = lowered(v.trailer)
	return v
}

// lowered has the names of field lines in lower case, as they come over HTTP/2.
func lowered(lines []string) (all []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		all = append(all, strings.ToLower(name)+": "+value)
	}
	return all
}

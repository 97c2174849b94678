package codec

import "github.com/pingora-proxy/pingora-proxy/dataplane/exchange"

// What follows judges parts of a message for the engine whose messages come in another form: both refuse the same.

// ValidAuthority reports whether b is a host, or a host and a port, as Host and request targets name them.
func ValidAuthority(b []byte) bool { return validAuthority(b) }

// ValidMethod reports whether b is a token that is not too long for a method.
func ValidMethod(b []byte) bool { return len(b) <= maxMethod && isToken(b) }

// ValidValue reports whether b may stand in a field: no control character, and no white space around it.
func ValidValue[T ~string | ~[]byte](b T) bool {
	for i := 0; i < len(b); i++ {
		if classes[b[i]]&valueByte == 0 {
			return false
		}
	}
	return len(b) == 0 || classes[b[0]]&separatorSpace == 0 && classes[b[len(b)-1]]&separatorSpace == 0
}

// ValidName reports whether name is a field's, and whether it has an underscore: such fields are left out of requests.
func ValidName[T ~string | ~[]byte](name T) (ok, underscored bool) {
	kinds := uint8(0)
	for i := 0; i < len(name); i++ {
		class := classes[name[i]]
		if class&tokenByte == 0 {
			return false, false
		}
		kinds |= class
	}
	return len(name) > 0, kinds&underscore != 0
}

// MaxFieldName is how long a field's name may be.
const MaxFieldName = maxFieldName

// SplitTarget cuts a target in origin-form, or the asterisk, into its path and its query.
func SplitTarget(target []byte) (path, query []byte, hasQuery, ok bool) {
	p := 0
	for p < len(target) && classes[target[p]]&pathByte != 0 {
		p++
	}
	path = target[:p:p]
	if len(path) == 0 || path[0] != '/' && string(target) != "*" {
		return nil, nil, false, false
	}
	if p == len(target) {
		return path, nil, false, true
	}
	if target[p] != '?' {
		return nil, nil, false, false
	}
	query = target[p+1:]
	for _, c := range query {
		if classes[c]&queryByte == 0 {
			return nil, nil, false, false
		}
	}
	return path, query, true, true
}

// ParseLength reads a Content-Length: digits and nothing else, less than 10^18.
func ParseLength(value []byte) (int64, bool) { return parseLength(value) }

// AllowedInTrailer reports whether a field may come behind a body (RFC 9110 §6.5.1); see ChunkDecoder.Trailer.
func AllowedInTrailer(id exchange.ID, name []byte) bool { return allowedInTrailer(id, name) }

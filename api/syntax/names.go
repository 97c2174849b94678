package syntax

import "strings"

// FileKey is the spelling of a field's JSON name in the standalone file: `clientIP` is `client_ip`, `jwksURL` is
// `jwks_url`. Keys of the user's own (header names) are never converted.
func FileKey(jsonName string) string {
	var b strings.Builder
	for i := 0; i < len(jsonName); i++ {
		c := jsonName[i]
		if !upper(c) {
			b.WriteByte(c)
			continue
		}
		// A word begins after a small letter, and with the last capital of a run that goes on in small letters.
		if i > 0 && (!upper(jsonName[i-1]) || i+1 < len(jsonName) && !upper(jsonName[i+1])) {
			b.WriteByte('_')
		}
		b.WriteByte(c - 'A' + 'a')
	}
	return b.String()
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

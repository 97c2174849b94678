package codec

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes, one bit each.
const (
	tokenByte      = 1 << iota // RFC 9110 §5.6.2
	underscore                 // '_', which many origins take for '-'
	pathByte                   // in a request target, before its query
	queryByte                  // in the query
	hostByte                   // in the name of a host
	valueByte                  // in a field value or a reason phrase, SP and HTAB too (RFC 9110 §5.5)
	hexDigit                   // RFC 5234's HEXDIG, in either case
	separatorSpace             // SP and HTAB: optional white space (RFC 9110 §5.6.3)
)

// classes tells the classes of every byte.
//
// A target may hold every visible ASCII character but '#'. That is a little more than RFC 3986 allows ("|" and the like
// are common, and mean the same to everybody) and does not include bytes above 0x7f, which clients must encode.
// A host is what DNS and container networks name: letters, digits, '-', '.' and '_'. Of what RFC 3986 allows besides,
// percent-encoding and sub-delims are read differently by different origins and refused.
var classes = func() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		alnum := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if alnum {
			table[i] |= tokenByte | hostByte
		}
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' {
			table[i] |= hexDigit
		}
		if c > ' ' && c < 0x7f && c != '#' {
			table[i] |= pathByte | queryByte
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			table[i] |= valueByte
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		table[c] |= tokenByte
	}
	for _, c := range []byte("-._") {
		table[c] |= hostByte
	}
	table['_'] |= underscore
	table['?'] &^= pathByte
	table[' '] |= separatorSpace
	table['\t'] |= separatorSpace
	return table
}()

// hexValues maps hexadecimal digits to their values.
var hexValues = func() (table [256]uint8) {
	for i, c := range []byte("0123456789abcdef") {
		table[c] = uint8(i)
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = uint8(10 + i)
	}
	return table
}()

// scanValue returns the place of the first byte of b at or after p that cannot stand in a field value, or len(b). It
// looks at eight bytes at a time: the line's end is found in the pass that checks the line.
func scanValue(b []byte, p int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	for p+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[p:])
		del := x ^ 0x7f*ones
		// The high bit of each byte below 0x20 and of each 0x7f is set. A borrow can set wrong ones, but only above a
		// right one: the lowest is right.
		hits := ((x-0x20*ones)&^x | (del-ones)&^del) & highs
		if hits == 0 {
			p += 8
			continue
		}
		p += bits.TrailingZeros64(hits) / 8
		if b[p] != '\t' {
			return p
		}
		p++
	}
	for p < len(b) && classes[b[p]]&valueByte != 0 {
		p++
	}
	return p
}

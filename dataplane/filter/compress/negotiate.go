package compress

import (
	"bytes"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A coding is a content coding.
type coding uint8

const (
	identity coding = iota
	gzipped
	brotlied
	zstandard
	codings // how many there are
)

// String returns the name that Content-Encoding has for it.
func (c coding) String() string {
	switch c {
	case gzipped:
		return "gzip"
	case brotlied:
		return "br"
	case zstandard:
		return "zstd"
	}
	return "identity"
}

// codingOf returns the coding of a name in any case, or identity.
func codingOf[T ~string | ~[]byte](name T) coding {
	switch {
	case exchange.EqualFold(name, "gzip"), exchange.EqualFold(name, "x-gzip"): // RFC 9110 §8.4.1.3
		return gzipped
	case exchange.EqualFold(name, "br"):
		return brotlied
	case exchange.EqualFold(name, "zstd"):
		return zstandard
	}
	return identity
}

// A choice is what a client's Accept-Encoding came to.
type choice uint8

// only says that the client does not take a body as it is.
const only choice = 0x80

func (c choice) coding() coding  { return coding(c &^ only) }
func (c choice) onlyCoded() bool { return c&only != 0 }

// unset is the quality of what a list does not name.
const unset = -1

// negotiate reads Accept-Encoding (RFC 9110 §12.5.3). The first of the preferred codings wins among those that the client
// likes equally; a client that likes the body as it is better gets that.
func negotiate(h *exchange.Header, preferred []coding) choice {
	quality := [codings]int{unset, unset, unset, unset}
	others := unset
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || id != exchange.Other || !exchange.EqualFold(name, "Accept-Encoding") {
			continue
		}
		for len(value) > 0 {
			var item []byte
			item, value = exchange.NextToken(value)
			word, q := cutQuality(item)
			switch c := codingOf(word); {
			case c != identity, exchange.EqualFold(word, "identity"):
				quality[c] = max(quality[c], q)
			case string(word) == "*":
				others = max(others, q)
			}
		}
	}
	best, at := 0, identity
	for _, c := range preferred {
		q := quality[c]
		if q == unset {
			q = others
		}
		if q > best {
			best, at = q, c
		}
	}
	if at == identity || quality[identity] > best {
		return choice(identity)
	}
	if quality[identity] == 0 || quality[identity] == unset && others == 0 {
		return choice(at) | only
	}
	return choice(at)
}

// cutQuality cuts the weight off an item, in thousandths: 1000 where there is none, 0 where it is none.
func cutQuality(item []byte) (word []byte, q int) {
	i := bytes.IndexByte(item, ';')
	if i < 0 {
		return item, 1000
	}
	word = bytes.TrimRight(item[:i], " \t")
	weight := bytes.Trim(item[i+1:], " \t")
	if len(weight) < 3 || weight[0]|0x20 != 'q' || weight[1] != '=' {
		return word, 0
	}
	digits := weight[2:]
	if digits[0] != '0' && digits[0] != '1' || len(digits) > 1 && digits[1] != '.' || len(digits) > 5 {
		return word, 0
	}
	q = int(digits[0]-'0') * 1000
	place := 100
	for _, c := range digits[min(2, len(digits)):] {
		if c < '0' || c > '9' {
			return word, 0
		}
		q += int(c-'0') * place
		place /= 10
	}
	return word, min(q, 1000)
}

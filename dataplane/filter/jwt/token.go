package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// maxToken is how long a token may be, in bytes.
const maxToken = 8192

// A token is one in compact serialisation (RFC 7515 §7.1), of which nothing is believed yet.
type token struct {
	text   []byte
	header map[string]json.RawMessage
	claims map[string]json.RawMessage
	issuer string
	alg    string
	kid    string
}

// parse reads a token. What it refuses, no provider that keeps to the standard has made. The message goes to the client
// and says nothing of what the token holds.
func parse(from []byte) (t token, problem string) {
	if len(from) > maxToken {
		return t, "the token is too long"
	}
	if bytes.Count(from, []byte{'.'}) != 2 {
		return t, "the token is not a signed one"
	}
	t.text = from
	head, rest, _ := bytes.Cut(from, []byte{'.'})
	payload, signature, _ := bytes.Cut(rest, []byte{'.'})
	if _, ok := decode(signature); !ok || len(signature) == 0 {
		return t, "the token has no signature"
	}
	var ok bool
	if t.header, ok = object(head); !ok {
		return t, "the header of the token cannot be read"
	}
	for _, name := range [...]string{"crit", "b64", "enc", "zip"} { // what we do not understand must not be overlooked
		if _, there := t.header[name]; there {
			return t, "the token uses an extension that is not known"
		}
	}
	if t.alg, ok = text(t.header["alg"]); !ok || !slices.Contains(known(), t.alg) {
		return t, "the algorithm of the signature is not allowed"
	}
	if kid, there := t.header["kid"]; there {
		if t.kid, ok = text(kid); !ok {
			return t, "the header of the token cannot be read"
		}
	}
	if t.claims, ok = object(payload); !ok {
		return t, "the claims of the token cannot be read"
	}
	if t.issuer, ok = text(t.claims["iss"]); !ok {
		return t, "the token names no issuer"
	}
	return t, ""
}

// decode reads base64url, in the one form that there is for each value.
func decode(part []byte) ([]byte, bool) {
	for _, c := range part { // the decoder would skip line breaks
		if c <= ' ' {
			return nil, false
		}
	}
	out, err := base64.RawURLEncoding.Strict().AppendDecode(nil, part)
	return out, err == nil
}

func object(part []byte) (map[string]json.RawMessage, bool) {
	data, ok := decode(part)
	if !ok || !utf8.Valid(data) { // what is no UTF-8 would be replaced, and two subjects could become one
		return nil, false
	}
	members, err := decodeObject(data)
	return members, err == nil
}

// candidates are the keys that may have signed the token: those of the name that it gives, or that have none.
func (t *token) candidates(set *keySet) (named bool, keys []*key) {
	if set == nil {
		return false, nil
	}
	for _, k := range set.keys {
		same := t.kid != "" && k.id == t.kid
		named = named || same
		if (same || t.kid == "" || k.id == "") && slices.Contains(k.algorithms, t.alg) {
			keys = append(keys, k)
		}
	}
	return named, keys
}

// maxTries bounds how many keys one token is checked with: sets whose keys have no names are short.
const maxTries = 8

// signer is the key that has signed the token, or nil.
func (t *token) signer(keys []*key) *key {
	alg, ok := algorithm(t.alg)
	if !ok {
		return nil
	}
	for _, k := range keys[:min(len(keys), maxTries)] {
		if _, err := jws.VerifyCompactFast(k.public, t.text, alg); err == nil {
			return k
		}
	}
	return nil
}

// times are the claims exp and nbf, in Unix time. Without exp a token is not valid.
func (t *token) times() (expires, notBefore int64, ok bool) {
	if expires, ok = date(t.claims["exp"]); !ok {
		return 0, 0, false
	}
	if raw, there := t.claims["nbf"]; there {
		if notBefore, ok = date(raw); !ok {
			return 0, 0, false
		}
	}
	return expires, notBefore, true
}

// date reads a NumericDate (RFC 7519 §2).
func date(raw json.RawMessage) (int64, bool) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	secs, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(secs) || math.Abs(secs) > 1<<52 {
		return 0, false
	}
	return int64(math.Floor(secs)), true
}

// audience reports whether the claim aud names one of those that are wanted.
func (t *token) audience(wanted []string) bool {
	if len(wanted) == 0 {
		return true
	}
	raw := t.claims["aud"]
	if name, ok := text(raw); ok {
		return slices.Contains(wanted, name)
	}
	var names []string
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &names) != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(wanted, name) })
}

// says reports whether a claim has the value that is asked for: it is that value, or a list with it. Of scope and scp,
// which are words with spaces between them (RFC 8693 §4.2), each word that is asked for must be there.
func (t *token) says(claim, value string) bool {
	raw, there := t.claims[claim]
	if !there {
		return false
	}
	have, ok := entries(raw)
	if !ok {
		return false
	}
	if claim != "scope" && claim != "scp" {
		return slices.Contains(have, value)
	}
	var words []string
	for _, entry := range have {
		words = append(words, strings.Fields(entry)...)
	}
	wanted := strings.Fields(value)
	for _, word := range wanted {
		if !slices.Contains(words, word) {
			return false
		}
	}
	return len(wanted) > 0
}

// entries are the texts of a claim: itself, or those of its list.
func entries(raw json.RawMessage) ([]string, bool) {
	if one, ok := scalar(raw); ok {
		return []string{one}, true
	}
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		if entry, ok := scalar(item); ok {
			out = append(out, entry)
		}
	}
	return out, true
}

// scalar is a text, a number or true or false, as text.
func scalar(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch raw[0] {
	case '"':
		return text(raw)
	case '{', '[', 'n':
		return "", false
	}
	return string(raw), true
}

// field is a claim as the value of a header field: a list's entries have commas between them. It returns false for what
// cannot stand there, or would be read as something else than it is.
func (t *token) field(claim string) (string, bool) {
	raw := t.claims[claim]
	if one, ok := scalar(raw); ok {
		return one, one != "" && filter.SafeValue(one)
	}
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return "", false
	}
	out := make([]string, len(list))
	for i, item := range list {
		entry, ok := scalar(item)
		if !ok || strings.Contains(entry, ",") {
			return "", false
		}
		out[i] = entry
	}
	joined := strings.Join(out, ",")
	return joined, joined != "" && filter.SafeValue(joined)
}

// texts are the claims of a believed token that can be said as text.
type texts map[string]string

// Text implements exchange.Claims.
func (c texts) Text(name string) (string, bool) {
	value, ok := c[name]
	return value, ok
}

func (t *token) texts() texts {
	out := make(texts, len(t.claims))
	for name, raw := range t.claims {
		if value, ok := scalar(raw); ok {
			out[name] = value
		}
	}
	return out
}

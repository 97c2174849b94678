package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

const (
	maxKeys    = 128  // of a set: one token is never checked with many
	minModulus = 2048 // bits of an RSA key; a shorter one can be broken
	maxModulus = 8192 // a longer one takes too long
)

// A key is a public key and what it may have signed.
type key struct {
	id         string   // kid; empty: the set names none
	algorithms []string // never empty
	public     any      // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	print      [sha256.Size]byte
	gone       atomic.Bool // it is in no set any more: what it has signed is not believed either
}

// A keySet is all keys of a provider at one time.
type keySet struct {
	keys  []*key
	until time.Time // from which it is too old, on the monotonic clock: a wall clock that jumps takes no keys away; zero: never
}

// known are the algorithms of signatures that may be used: none without a key, and none whose key both sides hold, for
// which a public key could be taken.
func known() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// parseKeys reads a JWK Set (RFC 7517 §5). Keys that cannot have signed a token, or that are not safe, are left out and
// named in skipped; a set of which none is left is an error, one that is empty is not. Messages say nothing of what is in a
// key.
func parseKeys(data []byte, allowed []string) (keys []*key, skipped []string, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, nil, errors.New("this is no set of keys: JSON with a list `keys` is wanted")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("there are %d keys; %d are allowed", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseKey(raw, allowed)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("keys[%d]: %v", i, err))
			continue
		}
		if !slices.ContainsFunc(keys, func(other *key) bool { return other.print == k.print }) {
			keys = append(keys, k)
		}
	}
	if set.Keys == nil {
		return nil, nil, errors.New("this is no set of keys: JSON with a list `keys` is wanted")
	}
	if len(keys) == 0 && len(skipped) > 0 {
		return nil, nil, fmt.Errorf("none of the keys can be used: %s", strings.Join(skipped, "; "))
	}
	return keys, skipped, nil
}

// parseKey reads one key. Only the members that are the public key itself are looked at: certificates beside it (x5c,
// x5u) prove nothing to us, and private parts are not wanted.
func parseKey(raw []byte, allowed []string) (*key, error) {
	members, err := decodeObject(raw)
	if err != nil {
		return nil, err
	}
	var wanted []string
	switch kty, _ := text(members["kty"]); kty {
	case "RSA":
		wanted = []string{"n", "e"}
	case "EC":
		wanted = []string{"crv", "x", "y"}
	case "OKP":
		wanted = []string{"crv", "x"}
	case "oct":
		return nil, errors.New("a symmetric key is never used")
	default:
		return nil, errors.New("the type of the key (kty) is none of RSA, EC and OKP")
	}
	if use, ok := members["use"]; ok {
		if name, _ := text(use); name != "sig" {
			return nil, errors.New("the key is not for signatures (use)")
		}
	}
	if ops, ok := members["key_ops"]; ok {
		var names []string
		if json.Unmarshal(ops, &names) != nil || !slices.Contains(names, "verify") {
			return nil, errors.New("the key is not for signatures (key_ops)")
		}
	}
	public, implied, err := publicKey(members, wanted)
	if err != nil {
		return nil, err
	}
	k := &key{public: public}
	if id, ok := members["kid"]; ok {
		if k.id, ok = text(id); !ok {
			return nil, errors.New("the name of the key (kid) is no text")
		}
	}
	if alg, ok := members["alg"]; ok {
		name, _ := text(alg)
		if name == "Ed25519" { // RFC 9864's name for it
			name = "EdDSA"
		}
		if !slices.Contains(implied, name) {
			return nil, errors.New("the key is for an algorithm (alg) that is unknown or does not fit it")
		}
		implied = []string{name}
	}
	for _, name := range implied {
		if len(allowed) == 0 || slices.Contains(allowed, name) {
			k.algorithms = append(k.algorithms, name)
		}
	}
	if len(k.algorithms) == 0 {
		return nil, errors.New("the key is for none of the algorithms that are allowed")
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", k.id, k.algorithms)
	for _, name := range wanted {
		fmt.Fprintf(h, " %q", members[name])
	}
	h.Sum(k.print[:0])
	return k, nil
}

// publicKey makes a key of its members, and says which algorithms its type allows.
func publicKey(members map[string]json.RawMessage, wanted []string) (public any, implied []string, err error) {
	plain := map[string]json.RawMessage{"kty": members["kty"]}
	for _, name := range wanted {
		if members[name] == nil {
			return nil, nil, fmt.Errorf("the key has no member %q", name)
		}
		plain[name] = members[name]
	}
	if n, ok := text(members["n"]); ok && plain["n"] != nil { // jwx refuses short ones too, and does not say why
		modulus, _ := decode([]byte(n))
		if bits := new(big.Int).SetBytes(modulus).BitLen(); bits < minModulus || bits > maxModulus {
			return nil, nil, fmt.Errorf("an RSA key has %d to %d bits; this one has %d", minModulus, maxModulus, bits)
		}
	}
	data, err := json.Marshal(plain)
	if err != nil {
		return nil, nil, err
	}
	unreadable := errors.New("the key cannot be read")
	parsed, err := jwk.ParseKey(data)
	if err != nil {
		return nil, nil, unreadable
	}
	if err := jwk.Export(parsed, &public); err != nil {
		return nil, nil, unreadable
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minModulus || n > maxModulus || k.E < 3 || k.E%2 == 0 {
			return nil, nil, unreadable
		}
		return k, []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil {
			return nil, nil, errors.New("the key is no point of its curve, or the curve is none of P-256, P-384 and P-521")
		}
		switch k.Curve.Params().BitSize {
		case 256:
			return k, []string{"ES256"}, nil
		case 384:
			return k, []string{"ES384"}, nil
		default:
			return k, []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, nil, unreadable
		}
		return k, []string{"EdDSA"}, nil
	}
	return nil, nil, errors.New("the curve of the key is none of P-256, P-384, P-521 and Ed25519")
}

// algorithm is jwx's name of one of the known ones.
func algorithm(name string) (jwa.SignatureAlgorithm, bool) {
	if !slices.Contains(known(), name) {
		return jwa.EmptySignatureAlgorithm(), false
	}
	return jwa.LookupSignatureAlgorithm(name)
}

// decodeObject reads the members of a JSON object. Two of one name are refused: which one counts would be a matter of
// taste.
func decodeObject(data []byte) (map[string]json.RawMessage, error) {
	broken := errors.New("this is no JSON object")
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, broken
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, broken
		}
		member, ok := name.(string)
		if !ok {
			return nil, broken
		}
		if _, twice := members[member]; twice {
			return nil, errors.New("a member of the JSON object is there twice")
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, broken
		}
		members[member] = value
	}
	if end, err := d.Token(); err != nil || end != json.Delim('}') {
		return nil, broken
	}
	if d.InputOffset() != int64(len(bytes.TrimRight(data, " \t\r\n"))) {
		return nil, broken
	}
	return members, nil
}

// text reads a JSON string.
func text(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

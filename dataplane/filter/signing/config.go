package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// An Algorithm signs.
type Algorithm uint8

// The algorithms (RFC 9421 §3.3).
const (
	HMACSHA256 Algorithm = iota
	Ed25519
)

var algorithmNames = [...]string{HMACSHA256: "hmac-sha256", Ed25519: "ed25519"}

// Config describes the filter.
type Config struct {
	Owner      string `outline:"-"` // the service
	Algorithm  Algorithm
	Secret     []byte   // the key: of HMACSHA256 as it is, of Ed25519 in PEM (PKCS #8)
	KeyID      string   `outline:"show"`
	Components []string `outline:"show"` // in the order in which they are signed; none: the usual ones
	Secure     bool     // endpoints speak TLS: what they take for the request's scheme
}

// minSecret is as long as what HMAC-SHA-256 makes of it: a shorter key weakens it (RFC 2104 §3).
const minSecret = sha256.Size

// usual are the components that are signed where nothing else is asked for.
var usual = [...]string{"@method", "@authority", "@path", "@query", "content-digest"}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("signing %q algorithm %d secret %x key %q components %q secure %t",
		c.Owner, c.Algorithm, sha256.Sum256(c.Secret), c.KeyID, c.Components, c.Secure)
}

// Validate says what keeps New from working. No error holds anything of the key.
func (c Config) Validate() error {
	_, err := c.build()
	return err
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	f, err := c.build()
	if err != nil {
		return nil, err // and not f: an interface that holds a nil pointer is not nil
	}
	return f, nil
}

func (c Config) build() (*signing, error) {
	f := &signing{}
	var problems []error
	switch c.Algorithm {
	case HMACSHA256:
		secret := trimLine(c.Secret)
		if len(secret) < minSecret {
			problems = append(problems, fmt.Errorf("key: has %d bytes; HMACSHA256 needs %d or more", len(secret), minSecret))
		}
		f.macs.New = func() any { return hmac.New(sha256.New, secret) }
	case Ed25519:
		key, err := parseEd25519(c.Secret)
		if err != nil {
			problems = append(problems, err)
		}
		f.private = key
	default:
		return nil, fmt.Errorf("unknown algorithm %d", c.Algorithm)
	}
	if c.KeyID == "" || !plain(c.KeyID) {
		problems = append(problems, errors.New("key_id: must be printable ASCII, without quotation marks and backslashes"))
	}
	components := c.Components
	if len(components) == 0 {
		components = usual[:]
	}
	for i, name := range components {
		if slices.Contains(components[:i], name) {
			problems = append(problems, fmt.Errorf("component %q: is there twice", name))
		}
		part, err := newComponent(name)
		if err != nil {
			problems = append(problems, fmt.Errorf("component %q: %w", name, err))
		}
		f.components = append(f.components, part)
	}
	f.digests = slices.Contains(components, contentDigest)
	f.params = `;keyid="` + c.KeyID + `";alg="` + algorithmNames[c.Algorithm] + `"`
	f.scheme, f.port = "http", "80"
	if c.Secure {
		f.scheme, f.port = "https", "443"
	}
	return f, errors.Join(problems...)
}

// trimLine cuts the end of the line off a key that is text, which editors and echo leave behind it. A key of arbitrary bytes
// is taken as it is.
func trimLine(secret []byte) []byte {
	line := bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	for _, c := range line {
		if c < ' ' || c > '~' {
			return secret
		}
	}
	return line
}

func parseEd25519(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("key: Ed25519 needs a private key in PEM (PKCS #8): -----BEGIN PRIVATE KEY-----")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("key: what stands in the PEM block is no private key (PKCS #8)")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("key: is no Ed25519 key")
	}
	return key, nil
}

// plain reports whether a text can stand between quotation marks as it is (RFC 9651 §3.3.3).
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// A component is a part of the message that is signed.
type component struct {
	name string      // a derived component (RFC 9421 §2.2), or a field in lower case
	id   exchange.ID // of the field
}

const contentDigest = "content-digest"

func newComponent(name string) (component, error) {
	if strings.HasPrefix(name, "@") {
		switch name {
		case "@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query":
			return component{name: name}, nil
		}
		return component{}, errors.New("is not known")
	}
	if strings.ToLower(name) != name {
		return component{}, errors.New("must be in lower case")
	}
	id := exchange.Lookup(name)
	switch id {
	case exchange.Host, exchange.ContentLength:
		return component{name: name, id: id}, nil
	}
	if err := filter.CheckField(name); err != nil {
		return component{}, err
	}
	if name == "signature" || name == "signature-input" {
		return component{}, errors.New("is what is being made")
	}
	return component{name: name, id: id}, nil
}

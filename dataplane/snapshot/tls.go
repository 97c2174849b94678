package snapshot

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// TLS says how the connections of a service's clients are secured.
type TLS struct {
	MinVersion   uint16 // as crypto/tls numbers them
	Certificates []Certificate
	ClientAuth   *ClientAuth // nil: clients are not asked for certificates
}

// A ClientAuth asks clients for certificates.
type ClientAuth struct {
	Required bool
	CA       []byte // PEM
	Invalid  string // why it cannot be used: every handshake fails
}

// Digest tells settings apart: a connection that was opened under one is not good for another. It is empty where clients
// are not asked for certificates.
func (c *ClientAuth) Digest() string {
	if c == nil {
		return ""
	}
	h := sha256.New()
	switch {
	case c.Invalid != "":
		h.Write([]byte("invalid "))
	case c.Required:
		h.Write([]byte("required "))
	default:
		h.Write([]byte("optional "))
	}
	h.Write(c.CA)
	return string(h.Sum(nil))
}

// Equal reports whether both ask clients for the same.
func (c *ClientAuth) Equal(o *ClientAuth) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.Required == o.Required && (c.Invalid == "") == (o.Invalid == "") && bytes.Equal(c.CA, o.CA)
}

// A Certificate is a chain with its key, in PEM. One without content could not be had: handshakes that need it fail.
type Certificate struct {
	Name  string // where it came from, for messages
	Chain []byte
	Key   Secret
}

// Equal reports whether both secure connections alike.
func (t *TLS) Equal(o *TLS) bool {
	if t == nil || o == nil || t == o {
		return t == o
	}
	return t.MinVersion == o.MinVersion && t.ClientAuth.Equal(o.ClientAuth) && slices.EqualFunc(t.Certificates, o.Certificates, func(a, b Certificate) bool {
		return bytes.Equal(a.Chain, b.Chain) && bytes.Equal(a.Key, b.Key)
	})
}

// A Secret is not to be shown.
type Secret []byte

// String implements fmt.Stringer, for whoever prints it by mistake.
func (Secret) String() string { return "(secret)" }

// MarshalText implements encoding.TextMarshaler for the same reason.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

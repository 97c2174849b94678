package tunnel

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what RFC 6455 asks for; it protects nothing
	"encoding/base64"
)

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3

// Key makes a key for WebSocket's opening handshake over HTTP/1.1, and into accept what the endpoint must accept it with
// (RFC 6455 §4.1).
func Key(accept *[28]byte) string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	sum := sha1.Sum([]byte(key + guid)) //nolint:gosec // as above
	base64.StdEncoding.Encode(accept[:], sum[:])
	return key
}

package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"net/netip"
	"strconv"
	"time"
)

const (
	macSize   = 16 // of the 32 bytes of HMAC-SHA256 (RFC 2104 §5)
	valueSize = 8 + 8 + macSize
	encoded   = (valueSize*8 + 5) / 6 // as text
)

// A Signer makes and reads the cookies of one service.
type Signer struct {
	name  string
	scope string
	key   []byte
	ttl   time.Duration
}

// New returns a Signer of cookies of that name. scope is the service: a cookie of another one is not read. Cookies last
// for ttl; 0: for as long as the browser runs.
func New(name, scope string, key []byte, ttl time.Duration) *Signer {
	return &Signer{name: name, scope: scope, key: key, ttl: ttl}
}

// Name is the name of the cookies.
func (s *Signer) Name() string { return s.name }

// ID names an endpoint in cookies.
func (s *Signer) ID(addr netip.AddrPort) uint64 {
	m := s.begin("endpoint")
	b := addr.Addr().Unmap().As16()
	m.Write(binary.BigEndian.AppendUint16(b[:], addr.Port()))
	return binary.BigEndian.Uint64(m.Sum(nil))
}

// Append appends the value of a Set-Cookie field that keeps a client at an endpoint from now on. secure says that the
// client speaks TLS.
func (s *Signer) Append(b []byte, id uint64, now time.Time, secure bool) []byte {
	var v [valueSize]byte
	binary.BigEndian.PutUint64(v[:], id)
	if s.ttl > 0 {
		binary.BigEndian.PutUint64(v[8:], uint64(now.Add(s.ttl).Unix()))
	}
	copy(v[16:], s.mac(v[:16]))
	b = append(append(b, s.name...), '=')
	b = base64.RawURLEncoding.AppendEncode(b, v[:])
	b = append(b, "; Path=/"...)
	if s.ttl > 0 {
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64(s.ttl/time.Second), 10)
	}
	b = append(b, "; HttpOnly; SameSite=Lax"...)
	if secure {
		b = append(b, "; Secure"...)
	}
	return b
}

// Read returns the endpoint that the value of a cookie names. renew says that more than half of its time is over. A value
// that was not made by this Signer's key, or whose time is over, is not ok.
func (s *Signer) Read(value []byte, now time.Time) (id uint64, renew, ok bool) {
	if len(value) != encoded {
		return 0, false, false
	}
	var v [valueSize]byte
	if n, err := base64.RawURLEncoding.Strict().Decode(v[:], value); err != nil || n != valueSize {
		return 0, false, false
	}
	if !hmac.Equal(v[16:], s.mac(v[:16])) {
		return 0, false, false
	}
	end := int64(binary.BigEndian.Uint64(v[8:]))
	if end != 0 {
		left := end - now.Unix()
		if left <= 0 {
			return 0, false, false
		}
		renew = s.ttl == 0 || left < int64(s.ttl/time.Second)/2
	} else {
		renew = s.ttl > 0
	}
	return binary.BigEndian.Uint64(v[:]), renew, true
}

// mac signs what a value says.
func (s *Signer) mac(said []byte) []byte {
	m := s.begin("cookie")
	m.Write(said)
	return m.Sum(nil)[:macSize]
}

// begin begins a hash of the key for one purpose. The lengths keep names apart that only together are the same.
func (s *Signer) begin(purpose string) hash.Hash {
	m := hmac.New(sha256.New, s.key)
	for _, text := range [...]string{purpose, s.name, s.scope} {
		m.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
		m.Write([]byte(text))
	}
	return m
}

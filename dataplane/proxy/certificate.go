package proxy

import "github.com/pingora-proxy/pingora-proxy/dataplane/exchange"

// The fields that tell endpoints whose certificate the client has shown.
const (
	certSubject     = "X-Client-Cert-Subject"
	certFingerprint = "X-Client-Cert-Fingerprint"
)

// dropCertificate removes the fields above from everybody's request, trusted proxies' too: what the endpoint gets is what
// was verified here. A name with underscores counts, because to many endpoints it is the same.
func dropCertificate(h *exchange.Header) {
	for i := range h.Len() {
		id, name, _, ok := h.At(i)
		if ok && id == exchange.Other && (len(name) == len(certSubject) && alias(name, certSubject) ||
			len(name) == len(certFingerprint) && alias(name, certFingerprint)) {
			h.RemoveAt(i)
		}
	}
}

// alias reports whether a name of the same length is another one but for its case, and underscores in place of dashes.
func alias(name []byte, of string) bool {
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		if c|0x20 != of[i]|0x20 { // both are letters or dashes: no other character of a name is 0x20 away from one
			return false
		}
	}
	return true
}

// addCertificate tells the endpoint of the client's certificate.
func addCertificate(x *exchange.Exchange) {
	if c := x.Conn.Certificate; c != nil {
		x.Request.Header.Add(certSubject, c.Subject)
		x.Request.Header.Add(certFingerprint, c.Fingerprint)
	}
}

package listener

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// clientAuth is how the clients of a policy are asked for certificates.
type clientAuth struct {
	mode        tls.ClientAuthType
	cas         *x509.CertPool
	authorities []*x509.Certificate // those in cas
	digest      string              // snapshot.ClientAuth.Digest
	invalid     error               // why every handshake fails
}

func newClientAuth(s *snapshot.ClientAuth) clientAuth {
	if s == nil {
		return clientAuth{}
	}
	a := clientAuth{mode: tls.VerifyClientCertIfGiven, digest: s.Digest()}
	if s.Required {
		a.mode = tls.RequireAndVerifyClientCert
	}
	if s.Invalid != "" {
		a.invalid = fmt.Errorf("clients' certificates cannot be verified: %s", s.Invalid)
		return a
	}
	a.authorities, a.invalid = Authorities(s.CA)
	a.cas = x509.NewCertPool()
	for _, c := range a.authorities {
		a.cas.AddCert(c)
	}
	return a
}

// Authorities reads a bundle of certificates in PEM. One bad certificate makes all of it bad: which one was to be trusted is
// not to be guessed.
func Authorities(bundle []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bundle; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the CA bundle cannot be used: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("the CA bundle holds no certificate")
	}
	return out, nil
}

// verify checks a connection's certificate, also one that comes from a session that was taken up again: the certificate
// may have ended since, and the authorities are asked once more.
func (a *clientAuth) verify(state tls.ConnectionState) error {
	peers := state.PeerCertificates
	if len(peers) == 0 {
		if a.mode == tls.RequireAndVerifyClientCert {
			return errors.New("the client has shown no certificate")
		}
		return nil
	}
	if _, err := Subject(peers[0]); err != nil {
		return err
	}
	if !state.DidResume {
		return nil // crypto/tls has just done it
	}
	o := x509.VerifyOptions{Roots: a.cas, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range peers[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := peers[0].Verify(o)
	return err
}

// maxSubject bounds what endpoints are told of a certificate's subject, in bytes.
const maxSubject = 4096

// Subject writes down whose a certificate is (RFC 2253). What is not printable ASCII is escaped: the text is to stand in a
// field of a request. One that is too long is an error, not cut: it would be somebody else's.
func Subject(c *x509.Certificate) (string, error) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &name); err != nil || len(rest) > 0 {
		return "", errors.New("the subject of the client's certificate cannot be read")
	}
	text := name.String()
	var b strings.Builder
	for i := range len(text) {
		if ch := text[i]; ch < ' ' || ch > '~' {
			b.WriteByte('\\')
			b.WriteString(hex.EncodeToString([]byte{ch}))
		} else {
			b.WriteByte(ch)
		}
	}
	if b.Len() > maxSubject {
		return "", errors.New("the subject of the client's certificate is too long")
	}
	return b.String(), nil
}

// Fingerprint is the SHA-256 of a certificate, in hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

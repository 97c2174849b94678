package material

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// A Content is what a source found where a reference names something.
type Content struct {
	Name    string // the file, or the Secret or ConfigMap with its key, for messages
	Data    []byte
	Problem string // why it cannot be had
	Reason  string // of the Problem, in the words of the status conditions; empty: it is not there
}

// Equal says whether both are the same.
func (c Content) Equal(o Content) bool {
	return c.Name == o.Name && c.Problem == o.Problem && c.Reason == o.Reason && bytes.Equal(c.Data, o.Data)
}

// A Certificate is what a source found where a service names one.
type Certificate struct {
	Name    string // the file or the Secret, for messages
	Chain   []byte // PEM, the service's own certificate first
	Key     []byte // PEM
	Problem string // why it cannot be used; empty: nothing was found to be wrong

	checked bool // it was looked at
}

// Equal says whether both are the same.
func (c Certificate) Equal(o Certificate) bool {
	return c.Name == o.Name && c.Problem == o.Problem && bytes.Equal(c.Chain, o.Chain) && bytes.Equal(c.Key, o.Key)
}

// NewCertificate returns a certificate, with a Problem where it is not one with its key. A source that keeps what it
// returns spares every translation the look at it.
func NewCertificate(name string, chain, key []byte) Certificate {
	c := Certificate{Name: name, Chain: chain, Key: key}
	c.Check()
	return c
}

// Check looks at the certificate, once. One that cannot be used has a Problem.
func (c *Certificate) Check() {
	if c.Problem == "" && !c.checked {
		if _, err := tls.X509KeyPair(c.Chain, c.Key); err != nil {
			c.Problem = fmt.Sprintf("%s: %v", c.Name, err)
		}
	}
	c.checked = true
}

// CheckBundle says what is wrong with certificates that others are verified with.
func CheckBundle(bundle []byte) error {
	n := 0
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("a certificate of the bundle cannot be used: %w", err)
		}
		n++
	}
	if n == 0 {
		return errors.New("the bundle holds no certificate in PEM")
	}
	return nil
}

package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

const (
	selfSignedFor   = 10 * 365 * 24 * time.Hour
	selfSignedAgain = 30 * 24 * time.Hour // before its end another one is made
)

// SelfSigned makes certificates for services that have none, and keeps them in the user's state folder, so that a client
// that was told to trust one may go on doing so. A nil one keeps nothing.
type SelfSigned struct {
	folder string // empty: they are kept in memory alone
	log    logr.Logger
	known  map[string]material.Certificate // by owner
	seed   []byte                          // nil: nobody has asked
}

// NewSelfSigned uses the folder that the service manager gives (systemd's StateDirectory), else the user's.
func NewSelfSigned(environment func(string) (string, bool), log logr.Logger) *SelfSigned {
	s := &SelfSigned{log: log, known: map[string]material.Certificate{}}
	if environment == nil {
		return s
	}
	value := func(name string) string {
		v, _ := environment(name)
		return v
	}
	if list := value("STATE_DIRECTORY"); list != "" {
		first, _, _ := strings.Cut(list, ":")
		s.folder = filepath.Join(first, "self-signed")
	} else if state := value("XDG_STATE_HOME"); filepath.IsAbs(state) {
		s.folder = filepath.Join(state, "pingora-proxy", "self-signed")
	} else if home := value("HOME"); home != "" {
		s.folder = filepath.Join(home, ".local", "state", "pingora-proxy", "self-signed")
	}
	return s
}

// Of returns the certificate of a service: the one that is kept where it fits, else a new one.
func (s *SelfSigned) Of(owner string, hosts []string) material.Certificate {
	if s == nil {
		return makeSelfSigned(hosts)
	}
	if c, ok := s.known[owner]; ok && fits(c, hosts) {
		return c
	}
	c, err := s.kept(owner, hosts)
	where := filepath.Join(s.folder, fileName(owner))
	if err != nil {
		s.log.Error(err, "a self-signed certificate cannot be kept: there will be another one after a restart", "service", owner)
		where = ""
	}
	s.known[owner] = c
	s.log.Error(nil, "a service has `tls: true` and no certificate: its clients get a self-signed one, which none of them trusts; "+
		"set `tls_config.certificates`", "service", owner, "kept_in", where)
	return c
}

func (s *SelfSigned) kept(owner string, hosts []string) (material.Certificate, error) {
	if s.folder == "" {
		return makeSelfSigned(hosts), errors.New("there is no state folder: set STATE_DIRECTORY or HOME")
	}
	path := filepath.Join(s.folder, fileName(owner))
	text, err := files.Read(path, maxBytes)
	if err == nil {
		if c := split(text); fits(c, hosts) {
			return c, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return makeSelfSigned(hosts), err
	}
	c := makeSelfSigned(hosts)
	return c, replaceFile(path, slices.Concat(c.Chain, c.Key))
}

// fileName is a file's name for any owner.
func fileName(owner string) string { return url.PathEscape(owner) + ".pem" }

// replaceFile writes a file that nobody else may read, whole or not at all.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

const selfSignedName = "self-signed"

// split takes a kept file apart.
func split(text []byte) material.Certificate {
	var chain, key []byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return material.NewCertificate(selfSignedName, chain, key)
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, pem.EncodeToMemory(block)...)
		} else {
			key = append(key, pem.EncodeToMemory(block)...)
		}
	}
}

// fits says whether a certificate is for these hosts and lasts.
func fits(c material.Certificate, hosts []string) bool {
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil {
		return false
	}
	names, ips := subjects(hosts)
	return slices.Equal(pair.Leaf.DNSNames, names) && slices.EqualFunc(pair.Leaf.IPAddresses, ips, net.IP.Equal) &&
		time.Until(pair.Leaf.NotAfter) > selfSignedAgain
}

// subjects sorts hosts into what a certificate has places for. No hosts are this machine, for whoever tries it out.
func subjects(hosts []string) (names []string, ips []net.IP) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			ips = append(ips, ip.AsSlice())
		} else {
			names = append(names, strings.ToLower(h))
		}
	}
	return names, ips
}

func makeSelfSigned(hosts []string) material.Certificate {
	chain, key, err := signSelf(hosts)
	if err != nil {
		return material.Certificate{Name: selfSignedName, Problem: fmt.Sprintf("no self-signed certificate could be made: %v", err)}
	}
	return material.NewCertificate(selfSignedName, chain, key)
}

func signSelf(hosts []string) (chain, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	names, ips := subjects(hosts)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "pingora-proxy self-signed"},
		DNSNames: names, IPAddresses: ips, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

package certificates

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

// maxBytes bounds the size of a file.
const maxBytes = 1 << 20

// Files are those that a configuration names, of certificates and of other contents, by name and as they were read. Each is read once, whoever names it.
type Files map[string]file

type file struct {
	data    []byte
	problem string
}

// Pair reads a certificate with its chain, and its key.
func (f Files) Pair(certFile, keyFile string) material.Certificate {
	chain, key := f.read(filepath.Clean(certFile)), f.read(filepath.Clean(keyFile))
	for _, one := range []file{chain, key} {
		if one.problem != "" {
			return material.Certificate{Name: certFile, Problem: one.problem}
		}
	}
	return material.NewCertificate(certFile, chain.data, key.data)
}

// Content reads what a reference names.
func (f Files) Content(name string) material.Content {
	one := f.read(filepath.Clean(name))
	return material.Content{Name: name, Data: one.data, Problem: one.problem}
}

func (f Files) read(name string) file {
	found, known := f[name]
	if !known {
		found = read(name)
		f[name] = found
	}
	return found
}

func read(name string) file {
	data, err := files.Read(name, maxBytes)
	switch {
	case err != nil:
		return file{problem: shown(name) + files.Reason(err)}
	case len(data) > maxBytes:
		return file{problem: fmt.Sprintf("%sthe file has more than %d bytes", shown(name), maxBytes)}
	}
	return file{data: data}
}

// shown is the name of a file as a problem begins with it. It is left out where it looks like no name: somebody has put there what
// should have been in the file. The problem's place tells which one is meant.
func shown(name string) string {
	if !strings.ContainsAny(name, "./") || strings.ContainsAny(name, "+=:$\n\r") {
		return ""
	}
	return name + ": "
}

// Changed says whether one of them is not any more what it was.
func (f Files) Changed() bool {
	for name, old := range f {
		if now := read(name); now.problem != old.problem || !bytes.Equal(now.data, old.data) {
			return true
		}
	}
	return false
}

// Names lists them.
func (f Files) Names() []string {
	out := make([]string, 0, len(f))
	for name := range f {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

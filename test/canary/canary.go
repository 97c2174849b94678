package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Flock is secrets that a test gives away, to see where they turn up. In finds them as they are and in the forms in
// which programs write down what they were given: base64, hexadecimal, percent-encoded, with escapes, backwards, compressed.
type Flock struct{ all []canary }

type canary struct {
	name  string
	forms map[string][]byte // what is looked for, by how it is written
}

// shortest is how many bytes tell a secret from chance.
const shortest = 8

// Add adds a secret, called name in what In says. Of a PEM the content counts, not what stands around it.
func (c *Flock) Add(name, secret string) {
	block, _ := pem.Decode([]byte(secret))
	if block == nil {
		c.add(name, secret)
		return
	}
	// Line by line, so that a part of it is found too; and its bytes, however they are written. What they begin with says only of
	// what kind they are, and at the end of a key on a curve stands the public one.
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) >= 4*shortest {
			c.add(name, line)
		}
	}
	c.add(name, string(block.Bytes[len(block.Bytes)/4:len(block.Bytes)/2]))
}

func (c *Flock) add(name, secret string) {
	if len(secret) < shortest {
		panic("canary: " + name + " is too short to be told from chance")
	}
	b := []byte(secret)
	backwards := slices.Clone(b)
	slices.Reverse(backwards)
	one := canary{name: name, forms: map[string][]byte{
		"as it is": b, "backwards": backwards, "hexadecimal": []byte(hex.EncodeToString(b)), "as numbers": []byte(strings.Trim(fmt.Sprintf("%d", b), "[]")),
	}}
	// Base64 depends on where in a group of three bytes the secret begins; the characters that its neighbours change are left out.
	for offset := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, offset), b...))
		one.forms[fmt.Sprintf("base64 from byte %d", offset)] = []byte(text[(offset*8+5)/6 : (offset+len(b))*8/6])
	}
	c.all = append(c.all, one)
}

// In lists the secrets that a text holds, and how they are written there.
func (c *Flock) In(text string) []string {
	var found []string
	for i, reading := range readings([]byte(text)) {
		lower := bytes.ToLower(reading)
		for _, one := range c.all {
			for how, form := range one.forms {
				at := reading
				if how == "hexadecimal" {
					at = lower
				}
				if bytes.Contains(at, form) {
					found = append(found, fmt.Sprintf("%s, %s, reading %d", one.name, how, i))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

var (
	// escaped is what JSON, YAML, Go and C make of a character.
	escaped = regexp.MustCompile(`\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[0-7]{3}|["'/\\abfnrtv])`)
	percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	// margin is what stands beside the bytes in a dump of them, as encoding/hex and hexdump -C write it.
	margin = regexp.MustCompile(`(?s) \|.{1,16}\|\s*[0-9a-f]{8}  `)
)

// readings are the texts that a text may stand for.
func readings(text []byte) [][]byte {
	all := [][]byte{text}
	for rest := text; ; {
		at := bytes.Index(rest, []byte("\x1f\x8b\x08"))
		if at < 0 {
			break
		}
		if r, err := gzip.NewReader(bytes.NewReader(rest[at:])); err == nil {
			r.Multistream(false) // what follows is something else
			inner, _ := io.ReadAll(r)
			all = append(all, inner)
		}
		rest = rest[at+1:]
	}
	for range 2 { // what is quoted may quote something itself
		for _, t := range slices.Clone(all) {
			if t = percent.ReplaceAllFunc(escaped.ReplaceAllFunc(t, plain), plain); !slices.ContainsFunc(all, func(o []byte) bool { return bytes.Equal(o, t) }) {
				all = append(all, t)
			}
		}
	}
	// Base64 of URLs, and texts that were broken into lines. Both would hide other forms, so they are readings of their own.
	for _, t := range slices.Clone(all) {
		all = append(all, bytes.Map(func(r rune) rune {
			switch r {
			case '-':
				return '+'
			case '_':
				return '/'
			case '\n', '\r', ' ', '\t':
				return -1
			}
			return r
		}, margin.ReplaceAll(t, nil)))
	}
	return all
}

// plain is the character that an escape stands for.
func plain(e []byte) []byte {
	if i := strings.IndexByte("abfnrtv", e[1]); i >= 0 && len(e) == 2 {
		return []byte("\a\b\f\n\r\t\v"[i : i+1])
	}
	digits, base := e[1:], 16
	switch e[1] {
	case 'u', 'x':
		digits = e[2:]
	case '"', '\'', '/', '\\':
		return e[1:]
	default:
		if e[0] == '\\' {
			base = 8
		}
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil {
		return e
	}
	if n < 256 && e[1] != 'u' {
		return []byte{byte(n)}
	}
	return []byte(string(rune(n)))
}

package canary_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/canary"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestCanariesAreFound(t *testing.T) {
	const secret = "c4n4ry/of+the=tests?\"x\"~ü"
	_, key := harness.NewAuthority(t, "authority").Issue(t, nil, "example")
	var c canary.Flock
	c.Add("word", secret)
	c.Add("key", key)

	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var squeezed bytes.Buffer
	w := gzip.NewWriter(&squeezed)
	_, _ = w.Write([]byte("before " + secret + " behind"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var every, unicode, octal strings.Builder
	for _, b := range []byte(secret) {
		fmt.Fprintf(&every, "%%%02x", b)
		fmt.Fprintf(&octal, `\%03o`, b)
	}
	for _, r := range secret {
		fmt.Fprintf(&unicode, `\u%04x`, r)
	}
	lines := strings.Split(strings.TrimSpace(key), "\n")
	for how, text := range map[string]string{
		"plain":             "a " + secret + " b",
		"JSON":              quoted("a " + secret),
		"JSON in JSON":      quoted(quoted("a " + secret)),
		"Go":                fmt.Sprintf("%+q", "a "+secret),
		"a query":           "/?a=" + url.QueryEscape(secret),
		"a path":            url.PathEscape(url.PathEscape(secret)),
		"percents":          every.String(),
		"unicode":           unicode.String(),
		"octal":             octal.String(),
		"base64":            base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64, second":    base64.StdEncoding.EncodeToString([]byte("u:" + secret + ":x")),
		"base64, third":     base64.RawStdEncoding.EncodeToString([]byte("a" + secret)),
		"base64 of URLs":    base64.RawURLEncoding.EncodeToString([]byte("user:" + secret)),
		"base64, in lines":  strings.Join(strings.SplitAfter(base64.StdEncoding.EncodeToString([]byte(secret)), "4"), "\r\n"),
		"hexadecimal":       hex.EncodeToString([]byte(secret)),
		"a dump":            "x\n" + hex.Dump([]byte("before "+secret+" behind")),
		"a dump in JSON":    quoted(hex.Dump([]byte("before " + secret + " behind"))),
		"HEXADECIMAL":       fmt.Sprintf("%X", secret),
		"numbers":           fmt.Sprintf("%d", []byte("a "+secret)),
		"backwards":         reversed(secret),
		"gzip":              "before " + squeezed.String() + " behind",
		"a PEM":             key,
		"a line of a PEM":   lines[1],
		"a PEM in JSON":     quoted(key),
		"a PEM in a Secret": base64.StdEncoding.EncodeToString([]byte("tls.key: " + key)),
		"a PEM in one line": strings.Join(lines[1:len(lines)-1], ""),
		"a PEM's bytes":     fmt.Sprintf("%q", decoded(t, lines[1:len(lines)-1])),
	} {
		if len(c.In(text)) == 0 {
			t.Errorf("%s is not found: %q", how, text)
		}
	}
	for _, text := range []string{"", "c4n4ry", secret[1:], "-----BEGIN PRIVATE KEY-----", "YzRuNHJ5", `{"a": "\\u00"}`, "%zz%4", `\u12`} {
		if found := c.In(text); len(found) > 0 {
			t.Errorf("%q: found %q", text, found)
		}
	}
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

func decoded(t *testing.T, lines []string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

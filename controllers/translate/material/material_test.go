package material_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

func made() material.Certificate {
	var none *certificates.SelfSigned
	return none.Of("owner", []string{"a.example"})
}

func TestCertificate(t *testing.T) {
	one, other := made(), made()
	for _, c := range []struct {
		name, problem string
		chain, key    []byte
	}{
		{"a pair", "", one.Chain, one.Key},
		{"of two pairs", "private key does not match", one.Chain, other.Key},
		{"nothing", "failed to find any PEM data", nil, nil},
	} {
		got := material.NewCertificate("a/b", c.chain, c.key)
		if (got.Problem == "") != (c.problem == "") || !strings.Contains(got.Problem, c.problem) || got.Problem != "" && !strings.HasPrefix(got.Problem, "a/b: ") {
			t.Errorf("%s: %q, want %q", c.name, got.Problem, c.problem)
		}
	}
	told := material.Certificate{Name: "a/b", Problem: "it does not exist"}
	if told.Check(); told.Problem != "it does not exist" {
		t.Errorf("the problem became %q", told.Problem)
	}
}

func TestCheckBundle(t *testing.T) {
	one := made()
	for name, c := range map[string]struct {
		bundle  []byte
		problem string
	}{
		"two certificates":      {append(append([]byte{}, one.Chain...), made().Chain...), ""},
		"a key beside one":      {append(append([]byte{}, one.Key...), one.Chain...), ""},
		"a key alone":           {one.Key, "no certificate"},
		"nothing":               {nil, "no certificate"},
		"one and a bad one":     {append(append([]byte{}, one.Chain...), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...), "cannot be used"},
		"what is no PEM":        {[]byte("AAAA"), "no certificate"},
		"text before and after": {append(append([]byte("# of us\n"), one.Chain...), "# the end\n"...), ""},
	} {
		err := material.CheckBundle(c.bundle)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v, want %q", name, err, c.problem)
		}
	}
}

package exchange

import (
	"net/http"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for id := Host; id < idCount; id++ {
		name := id.String()
		if name == "" {
			t.Fatalf("the field %d has no name", id)
		}
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Lookup(spelling); got != id {
				t.Errorf("Lookup(%q) = %d, want %d", spelling, got, id)
			}
			if got := Lookup([]byte(spelling)); got != id {
				t.Errorf("Lookup of the bytes of %q = %d, want %d", spelling, got, id)
			}
		}
		for _, other := range []string{name + "x", "x" + name, name[1:], name[:len(name)-1], strings.ReplaceAll(name, "-", "_") + "_"} {
			if got := Lookup(other); got != Other && !strings.EqualFold(other, got.String()) {
				t.Errorf("Lookup(%q) = %v", other, got)
			}
		}
	}
	for _, name := range []string{"", "X-Other", "Accept", "Hos", "Hoſt", "TransferEncoding", "Transfer_Encoding", strings.Repeat("a", 1000)} {
		if got := Lookup(name); got != Other {
			t.Errorf("Lookup(%q) = %v", name, got)
		}
	}
	if idCount > 64 {
		t.Errorf("%d named fields do not fit into Header.seen", idCount)
	}
}

func TestEqualFold(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"Host", "hOST", true},
		{"Host", "Hos", false},
		{"k", "\u212a", false}, // the Kelvin sign
		{"s", "ſ", false},
		{"@", "`", false}, // a case bit apart, but no letters
		{"[", "{", false},
		{"é", "é", true},
		{"é", "É", false},
	} {
		if got := EqualFold(test.a, []byte(test.b)); got != test.want {
			t.Errorf("EqualFold(%q, %q) = %v", test.a, test.b, got)
		}
	}
}

func TestParseMethod(t *testing.T) {
	for m := GET; m < MethodCount; m++ {
		if got := ParseMethod(m.String()); got != m {
			t.Errorf("ParseMethod(%q) = %v", m.String(), got)
		}
		if got := ParseMethod([]byte(strings.ToLower(m.String()))); got != MethodOther {
			t.Errorf("ParseMethod(%q) = %v", strings.ToLower(m.String()), got)
		}
	}
	for _, name := range []string{"", "OTHER", "GETS", "GE", "PROPFIND"} {
		if got := ParseMethod(name); got != MethodOther {
			t.Errorf("ParseMethod(%q) = %v", name, got)
		}
	}
	idempotent := map[string]bool{
		http.MethodGet: true, http.MethodHead: true, http.MethodPut: true, http.MethodDelete: true, http.MethodOptions: true,
		http.MethodTrace: true,
	}
	for m := MethodOther; m < MethodCount; m++ {
		if m.Idempotent() != idempotent[m.String()] {
			t.Errorf("%v: Idempotent() = %v", m, m.Idempotent())
		}
	}
}

func TestHasBody(t *testing.T) {
	for _, test := range []struct {
		method Method
		status int
		want   bool
	}{
		{GET, 200, true},
		{HEAD, 200, false},
		{GET, 204, false},
		{GET, 304, false},
		{GET, 101, false},
		{GET, 199, false},
		{POST, 404, true},
		{MethodOther, 205, true},
	} {
		if got := HasBody(test.method, test.status); got != test.want {
			t.Errorf("HasBody(%v, %d) = %v", test.method, test.status, got)
		}
	}
}

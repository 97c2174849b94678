package affinity

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func header(fields ...string) *exchange.Header {
	h := &exchange.Header{}
	for _, f := range fields {
		h.Add("Cookie", f)
	}
	return h
}

func TestCookies(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   []string
	}{
		{nil, nil},
		{[]string{"a=1"}, []string{"1"}},
		{[]string{"b=2; a=1; c=3"}, []string{"1"}},
		{[]string{"b=2;a=1;a=4"}, []string{"1", "4"}},
		{[]string{"b=2", "a=1"}, []string{"1"}}, // HTTP/2 sends a field each
		{[]string{` a = "1 2" ; A=3; aa=4; xa=5`}, []string{"1 2"}},
		{[]string{"a", "a=", "a=b=c"}, []string{"", "b=c"}},
		{[]string{";;=;a=1;"}, []string{"1"}},
	} {
		var got []string
		Cookies(header(c.fields...), "a", func(v []byte) bool {
			got = append(got, string(v))
			return true
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.fields, diff)
		}
		first := ""
		if len(c.want) > 0 {
			first = c.want[0]
		}
		if v := Cookie(header(c.fields...), "a"); string(v) != first {
			t.Errorf("%q: the first is %q", c.fields, v)
		}
	}
}

var (
	one  = netip.MustParseAddrPort("10.0.0.1:80") //nolint:gochecknoglobals // a constant
	two  = netip.MustParseAddrPort("10.0.0.2:80") //nolint:gochecknoglobals // a constant
	noon = time.Unix(1_700_000_000, 0)            //nolint:gochecknoglobals // a constant
)

const testKey = "0123456789abcdef"

func valueOf(t *testing.T, s *Signer, field string) []byte {
	t.Helper()
	pair, _, _ := strings.Cut(field, ";")
	name, value, ok := strings.Cut(pair, "=")
	if !ok || name != s.Name() {
		t.Fatal(field)
	}
	return []byte(value)
}

func TestSigner(t *testing.T) {
	s := New("PXS", "shop", []byte(testKey), time.Hour)
	if s.ID(one) == s.ID(two) || s.ID(one) != s.ID(netip.MustParseAddrPort("[::ffff:10.0.0.1]:80")) {
		t.Error("names of endpoints")
	}
	field := string(s.Append(nil, s.ID(one), noon, true))
	value := valueOf(t, s, field)
	if want := "PXS=" + string(value) + "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"; field != want {
		t.Errorf("%s, want %s", field, want)
	}
	if f := string(s.Append(nil, 1, noon, false)); strings.Contains(f, "Secure") {
		t.Error(f)
	}
	for _, c := range []struct {
		after     time.Duration
		renew, ok bool
	}{{0, false, true}, {30 * time.Minute, false, true}, {31 * time.Minute, true, true}, {time.Hour - time.Second, true, true}, {time.Hour, false, false}} {
		id, renew, ok := s.Read(value, noon.Add(c.after))
		if ok != c.ok || renew != c.renew || ok && id != s.ID(one) {
			t.Errorf("after %v: %v %v %v", c.after, id, renew, ok)
		}
	}
	session := New("PXS", "shop", []byte(testKey), 0)
	field = string(session.Append(nil, 7, noon, false))
	if strings.Contains(field, "Max-Age") {
		t.Error(field)
	}
	if id, renew, ok := session.Read(valueOf(t, session, field), noon.Add(1e6*time.Hour)); id != 7 || renew || !ok {
		t.Error(id, renew, ok)
	}
}

func TestForgedCookiesAreNotRead(t *testing.T) {
	s := New("PXS", "shop", []byte(testKey), time.Hour)
	value := valueOf(t, s, string(s.Append(nil, s.ID(one), noon, true)))
	for i := range value {
		forged := append([]byte(nil), value...)
		if forged[i]++; forged[i] > 'z' {
			forged[i] = 'A'
		}
		if _, _, ok := s.Read(forged, noon); ok {
			t.Errorf("byte %d was changed: %s", i, forged)
		}
	}
	for name, other := range map[string]*Signer{
		"another key":     New("PXS", "shop", []byte("0123456789abcdeF"), time.Hour),
		"another name":    New("PXT", "shop", []byte(testKey), time.Hour),
		"another service": New("PXS", "shop2", []byte(testKey), time.Hour),
		"moved bytes":     New("PXSs", "hop", []byte(testKey), time.Hour),
	} {
		if _, _, ok := other.Read(value, noon); ok {
			t.Error(name)
		}
	}
	for _, v := range []string{"", "x", string(value) + "A", string(value[:len(value)-1]), strings.Repeat("=", len(value))} {
		if _, _, ok := s.Read([]byte(v), noon); ok {
			t.Errorf("%q", v)
		}
	}
}

func FuzzRead(f *testing.F) {
	s := New("PXS", "shop", []byte(testKey), time.Hour)
	good := s.Append(nil, 1, noon, false)[len("PXS="):][:encoded]
	f.Add(good)
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, _, ok := s.Read(value, noon); ok && string(value) != string(good) {
			t.Errorf("%q was taken", value)
		}
	})
}

func FuzzCookies(f *testing.F) {
	f.Add("a=1; b=2", "a")
	f.Add(`a="x"`, "a")
	f.Fuzz(func(_ *testing.T, field, name string) {
		Cookies(header(field, field), name, func([]byte) bool { return true })
	})
}

package apikey

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func line(name, key string) string {
	return fmt.Sprintf("%s:sha256:%x\n", name, sha256.Sum256([]byte(key)))
}

func lines(h *exchange.Header) (out []string) {
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func TestRequest(t *testing.T) {
	list := "# partners\r\n" + line("acme", "k-1") + line("acme", "k-2") + "\n" + strings.ToUpper(line("globex", "k-3"))
	list = strings.Replace(list, "GLOBEX:SHA256:", "globex:sha256:", 1) // the digits alone may be in upper case
	type field = [2]string
	for name, test := range map[string]struct {
		c     Config
		sent  []field
		want  string
		user  string
		field []string
	}{
		"a key":             {Config{}, []field{{"X-API-Key", "k-1"}, {"A", "b"}}, "", "acme", []string{"A: b"}},
		"in any case":       {Config{}, []field{{"x-api-KEY", "k-2"}}, "", "acme", nil},
		"alias beside it":   {Config{}, []field{{"X-API-Key", "k-2"}, {"X_API_Key", "k-1"}}, "", "acme", nil},
		"upper-case digits": {Config{}, []field{{"X-API-Key", "k-3"}}, "", "globex", nil},
		"forwarded":         {Config{Forward: true}, []field{{"X-API-Key", "k-1"}}, "", "acme", []string{"X-API-Key: k-1"}},
		"name":              {Config{UserHeader: "X-Client"}, []field{{"x_client", "root"}, {"X-API-Key", "k-1"}, {"X-CLIENT", "root"}}, "", "acme", []string{"X-Client: acme"}},
		"other header":      {Config{Header: "Api-Token"}, []field{{"api-token", "k-1"}}, "", "acme", nil},
		"authorization":     {Config{Header: "authorization"}, []field{{"Authorization", "apikey k-1"}}, "", "acme", nil},
		"bearer":            {Config{Header: "Authorization"}, []field{{"Authorization", "Bearer k-1"}}, "", "acme", nil},
		"other scheme":      {Config{Header: "Authorization"}, []field{{"Authorization", "Basic k-1"}}, "401 unauthorized", "", nil},
		"bare":              {Config{Header: "Authorization"}, []field{{"Authorization", "k-1"}}, "401 unauthorized", "", nil},
		"two authorizations": {
			Config{Header: "Authorization"}, []field{{"Authorization", "Basic x"}, {"Authorization", "Bearer k-1"}}, "400 bad_request", "", nil,
		},
		"wrong":     {Config{}, []field{{"X-API-Key", "k-4"}}, "401 credentials_invalid", "", nil},
		"digest":    {Config{}, []field{{"X-API-Key", fmt.Sprintf("%x", sha256.Sum256([]byte("k-1")))}}, "401 credentials_invalid", "", nil},
		"case":      {Config{}, []field{{"X-API-Key", "K-1"}}, "401 credentials_invalid", "", nil},
		"too long":  {Config{}, []field{{"X-API-Key", strings.Repeat("k", 5000)}}, "401 credentials_invalid", "", nil},
		"alias":     {Config{}, []field{{"X_API_Key", "k-1"}}, "401 unauthorized", "", nil},
		"none":      {Config{}, nil, "401 unauthorized", "", nil},
		"empty":     {Config{}, []field{{"X-API-Key", ""}}, "401 unauthorized", "", nil},
		"two":       {Config{}, []field{{"X-API-Key", "k-1"}, {"X-API-Key", "k-1"}}, "400 bad_request", "", nil},
		"two empty": {Config{}, []field{{"X-API-Key", ""}, {"X-API-Key", ""}}, "400 bad_request", "", nil},
	} {
		if test.c.Header == "" {
			test.c.Header = "X-API-Key"
		}
		test.c.Keys = []byte(list)
		f, err := test.c.New(filter.Env{})
		if err != nil {
			t.Fatal(err)
		}
		var x exchange.Exchange
		for _, f := range test.sent {
			x.Request.Header.Add(f[0], f[1])
		}
		verdict, got := f.Request(&x), ""
		if verdict == filter.Respond {
			got = fmt.Sprintf("%d %s", x.Response.Status, x.Record.Reason)
			if v, _ := x.Response.Header.Get("WWW-Authenticate"); string(v) != `ApiKey realm="restricted", header="`+test.c.Header+`"` {
				t.Errorf("%s: challenge %s", name, v)
			}
		} else if diff := cmp.Diff(test.field, lines(&x.Request.Header)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got != test.want || x.Identity.User != test.user {
			t.Errorf("%s: %q, user %q; want %q, %q", name, got, x.Identity.User, test.want, test.user)
		}
	}
}

func TestValidate(t *testing.T) {
	good := line("acme", "k-1")
	for name, test := range map[string]struct{ list, header, user, want string }{
		"good":        {good, "X-API-Key", "", ""},
		"empty":       {"", "X-API-Key", "", "keys: there is no key"},
		"a key":       {good + "acme:canary\n", "X-API-Key", "", "line 2: it is not"},
		"other hash":  {"acme:md5:canary", "X-API-Key", "", "line 1: it is not"},
		"short":       {"\nacme:sha256:cafe", "X-API-Key", "", "line 2: a SHA-256 has 64"},
		"long":        {strings.TrimSpace(good) + "00", "X-API-Key", "", "a SHA-256 has 64"},
		"no digits":   {"acme:sha256:" + strings.Repeat("canary..", 8), "X-API-Key", "", "a SHA-256 has 64"},
		"no name":     {line("", "k"), "X-API-Key", "", "a name has 1 to"},
		"colon":       {line("canary:b", "k"), "X-API-Key", "", "a name has 1 to"},
		"control":     {line("canary\x01", "k"), "X-API-Key", "", "a name has 1 to"},
		"long name":   {line(strings.Repeat("x", 256), "k"), "X-API-Key", "", "a name has 1 to"},
		"of nothing":  {line("acme", ""), "X-API-Key", "", "the SHA-256 of nothing"},
		"twice":       {good + line("globex", "k-1"), "X-API-Key", "", "line 2: the key is there already"},
		"large":       {good + strings.Repeat("#canary\n", maxList/8), "X-API-Key", "", "more than 4194304 bytes"},
		"no header":   {good, "", "", `header ""`},
		"bad header":  {good, "Host", "", `header "Host"`},
		"user header": {good, "X-API-Key", "Content-Length", `user header "Content-Length"`},
	} {
		c := Config{Keys: []byte(test.list), Header: test.header, UserHeader: test.user}
		err := c.Validate()
		f, err2 := c.New(filter.Env{})
		switch {
		case test.want == "":
			if err != nil || err2 != nil {
				t.Errorf("%s: %v, %v", name, err, err2)
			}
		case err == nil || !strings.Contains(err.Error(), test.want) || err2 == nil || f != nil:
			t.Errorf("%s: %v; want %q", name, err, test.want)
		case strings.Contains(err.Error(), "canary"):
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
}

func TestKey(t *testing.T) {
	c := Config{"a", []byte("b"), "c", false, "d"}
	for name, other := range map[string]Config{
		"owner": {"x", []byte("b"), "c", false, "d"}, "keys": {"a", []byte("x"), "c", false, "d"}, "header": {"a", []byte("b"), "x", false, "d"},
		"forward": {"a", []byte("b"), "c", true, "d"}, "user": {"a", []byte("b"), "c", false, "x"},
	} {
		if other.Key() == c.Key() {
			t.Errorf("%s is not in the key", name)
		}
	}
	if k := (Config{Keys: []byte("canary")}).Key(); strings.Contains(k, "canary") {
		t.Errorf("%s holds the list", k)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(line("acme", "k-1") + "#\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		keys, err := parseKeys(list)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, name := range keys {
			if !filter.SafeValue(name) || name == "" {
				t.Errorf("the name %q", name)
			}
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	f, err := Config{Keys: []byte(line("acme", "0123456789abcdef0123456789abcdef")), Header: "X-API-Key", UserHeader: "X-Client"}.New(filter.Env{})
	if err != nil {
		b.Fatal(err)
	}
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Header.Add("Host", "shop.example.com")
		x.Request.Header.Add("X-API-Key", "0123456789abcdef0123456789abcdef")
		if f.Request(&x) != filter.Continue {
			b.Fatal(x.Response.Status)
		}
	}
}

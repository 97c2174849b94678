package headers

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func lines(h *exchange.Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func fill(h *exchange.Header) {
	h.Add("X-Debug", "1")
	h.Add("x-env", "test")
	h.Add("X-ENV", "dev")
	h.Add("Cookie", "a=b")
}

func TestFilter(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		want   []string
	}{
		{"set", Config{Set: []Field{{"X-Env", "prod"}, {"cookie", ""}}}, []string{"X-Debug: 1", "X-Env: prod", "cookie: "}},
		{"set what is not there", Config{Set: []Field{{"X-New", "a, b"}}}, []string{"X-Debug: 1", "x-env: test", "X-ENV: dev", "Cookie: a=b", "X-New: a, b"}},
		{"add", Config{Add: []Field{{"X-Env", "prod"}, {"X-Env", "more"}}}, []string{"X-Debug: 1", "x-env: test", "X-ENV: dev", "Cookie: a=b", "X-Env: prod", "X-Env: more"}},
		{"remove", Config{Remove: []string{"x-ENV", "COOKIE", "X-None"}}, []string{"X-Debug: 1"}},
		{"all", Config{Remove: []string{"X-Env"}, Set: []Field{{"X-Debug", "0"}}, Add: []Field{{"X-Env", "prod"}, {"X-Debug", "2"}}}, []string{"Cookie: a=b", "X-Debug: 0", "X-Env: prod", "X-Debug: 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, on := range []On{Request, Response} {
				var x exchange.Exchange
				fill(&x.Request.Header)
				fill(&x.Response.Header)
				other := lines(&x.Request.Header)
				test.config.On = on
				f, err := test.config.New(filter.Env{})
				if err != nil {
					t.Fatal(err)
				}
				if f.Request(&x) != filter.Continue {
					t.Error("the request is stopped")
				}
				f.Attempt(&x)
				f.Response(&x)
				f.Done(&x)
				f.Close()
				changed, unchanged := &x.Request.Header, &x.Response.Header
				if on == Response {
					changed, unchanged = unchanged, changed
				}
				if diff := cmp.Diff(test.want, lines(changed)); diff != "" {
					t.Errorf("on %d: %s", on, diff)
				}
				if diff := cmp.Diff(other, lines(unchanged)); diff != "" {
					t.Errorf("on %d, the other message: %s", on, diff)
				}
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		want   []string // parts of the error
	}{
		{"nothing", Config{}, []string{"set at least one of `set`, `add` and `remove`"}},
		{"message", Config{On: 2, Remove: []string{"X"}}, []string{"on: unknown message 2"}},
		{"twice", Config{Set: []Field{{"X-A", ""}, {"x-a", ""}}}, []string{`set "x-a": the field is set twice`}},
		{"framing", Config{Set: []Field{{"content-length", "0"}}, Add: []Field{{"Transfer-Encoding", "chunked"}}, Remove: []string{"TRAILER", "te", "Expect"}}, []string{
			`set "content-length": the field frames`, `add "Transfer-Encoding": the field frames`, `remove "TRAILER": the field frames`,
			`remove "te": the field frames`, `remove "Expect": the field frames`,
		}},
		{"connection", Config{Set: []Field{{"Connection", "close"}}, Add: []Field{{"Keep-Alive", "1"}}, Remove: []string{
			"Upgrade", "Proxy-Connection", "HTTP2-Settings", "Proxy-Authorization", "Proxy-Authenticate",
		}}, []string{
			`set "Connection": the field belongs to one connection`, `add "Keep-Alive": the`, `remove "Upgrade": the`, `remove "Proxy-Connection": the`,
			`remove "HTTP2-Settings": the`, `remove "Proxy-Authorization": the`, `remove "Proxy-Authenticate": the`,
		}},
		{"host", Config{Set: []Field{{"host", "a"}}}, []string{"set \"host\": use a `rewrite` filter"}},
		{"names", Config{Set: []Field{{"", "a"}}, Add: []Field{{"X Y", "a"}, {"X:", ""}, {"X\r\nY", ""}, {"é", ""}, {"\x00", ""}}, Remove: []string{strings.Repeat("x", 257), ":path"}}, []string{
			`set "": a field name has`, `add "X Y": a field name has`, `add "X:": a field name has`, `add "X\r\nY": a field name has`, `add "é": a`,
			`add "\x00": a`, `xx": a field name has 1 to 256`, `remove ":path": a`,
		}},
		{"values", Config{Set: []Field{{"A", "a\r\nb"}, {"B", "\x00"}, {"C", " x"}}, Add: []Field{{"D", "x\t"}, {"E", "\x7f"}, {"F", strings.Repeat("x", 8193)}}}, []string{
			`set "A": a value has no control`, `set "B": a value has no control`, `set "C": a value neither`, `add "D": a value neither`, `add "E": a`, `add "F": a value has at most`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.config.Validate()
			if err == nil {
				t.Fatal("there is no error")
			}
			if got := strings.Split(err.Error(), "\n"); len(got) != len(test.want) {
				t.Errorf("%d problems, want %d", len(got), len(test.want))
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: want %q", err, want)
				}
			}
			if f, err2 := test.config.New(filter.Env{}); f != nil || err2 == nil || err2.Error() != err.Error() {
				t.Errorf("New says %v, %v", f, err2)
			}
		})
	}
	for _, c := range []Config{
		{Set: []Field{{"X_Under", "tab\tinside"}, {"!#$%&'*+-.^_`|~09Az", "ünïcode"}}},
		{Add: []Field{{"Set-Cookie", "a=b"}, {"set-cookie", "c=d"}}, Set: []Field{{"Authorization", "Basic x"}, {"X-Forwarded-Host", "a"}}},
		{On: Response, Remove: []string{"Server", "Content-Type", "Via"}},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A value may be a secret: an error names the field and not what stands in it.
func TestErrorHidesValue(t *testing.T) {
	err := Config{Set: []Field{{"Authorization", "Bearer s3cret\n"}}}.Validate()
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

func TestKey(t *testing.T) {
	configs := []Config{
		{},
		{Owner: "a"},
		{On: Response},
		{Set: []Field{{"a", ""}}},
		{Set: []Field{{"", "a"}}},
		{Set: []Field{{"a", "b"}, {"c", "d"}}},
		{Set: []Field{{`a" "b`, ""}}},
		{Set: []Field{{"a", "b"}}},
		{Add: []Field{{"a", "b"}}},
		{Add: []Field{{"a", "c"}}},
		{Remove: []string{"a"}},
		{Remove: []string{"a", "b"}},
		{Remove: []string{"a b"}},
	}
	keys := map[string]int{}
	for i, c := range configs {
		if j, ok := keys[c.Key()]; ok {
			t.Errorf("%+v and %+v have one key", configs[i], configs[j])
		}
		keys[c.Key()] = i
		same := c
		same.Set = append([]Field{}, c.Set...)
		if same.Key() != c.Key() {
			t.Errorf("%+v has two keys", c)
		}
	}
	if n := reflect.TypeFor[Config]().NumField(); n != 5 {
		t.Errorf("Config has %d fields: add the new one to Key and to this test", n)
	}
}

func TestAllocates(t *testing.T) {
	f, err := Config{Set: []Field{{"X-Env", "prod"}}, Add: []Field{{"Via", "x"}}, Remove: []string{"X-Debug"}}.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var x exchange.Exchange
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		fill(&x.Request.Header)
		f.Request(&x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("X-A", "b")
	f.Add("host", "a\r\nb")
	f.Fuzz(func(t *testing.T, name, value string) {
		fl, err := Config{Set: []Field{{name, value}}}.New(filter.Env{})
		if err != nil {
			return
		}
		var x exchange.Exchange
		fl.Request(&x)
		got := lines(&x.Request.Header)
		if len(got) != 1 || strings.ContainsAny(got[0], "\r\n\x00") || strings.Count(name, ":") != 0 {
			t.Errorf("%q, %q: %q", name, value, got)
		}
	})
}

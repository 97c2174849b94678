package exchange

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parse fills a header the way a codec does: from a head with one field a line.
func parse(h *Header, head string) {
	h.Reset([]byte(head))
	at := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		name, value, _ := strings.Cut(line, ":")
		h.Append(Lookup(name), at, len(name), at+len(name)+1, len(value))
		at += len(line) + 1
	}
}

func list(h *Header) []string {
	var lines []string
	for i := range h.Len() {
		if id, name, value, ok := h.At(i); ok {
			if id != Lookup(name) {
				lines = append(lines, "wrong id")
			}
			lines = append(lines, string(name)+":"+string(value))
		}
	}
	return lines
}

const head = "Host:a\nx-one:1\nCookie:a=b\nX-ONE:2\ncookie:c=d\nEmpty:\n"

func TestHeader(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(h *Header)
		want []string
	}{
		{"as read", func(*Header) {}, []string{"Host:a", "x-one:1", "Cookie:a=b", "X-ONE:2", "cookie:c=d", "Empty:"}},
		{"Add a named field", func(h *Header) { h.Add("cookie", "e") }, []string{"Host:a", "x-one:1", "Cookie:a=b", "X-ONE:2", "cookie:c=d", "Empty:", "cookie:e"}},
		{"Add another", func(h *Header) { h.Add("X-Two", "") }, []string{"Host:a", "x-one:1", "Cookie:a=b", "X-ONE:2", "cookie:c=d", "Empty:", "X-Two:"}},
		{"Set a named field", func(h *Header) { h.Set("COOKIE", "e") }, []string{"Host:a", "x-one:1", "X-ONE:2", "Empty:", "COOKIE:e"}},
		{"Set another", func(h *Header) { h.Set("X-One", "3") }, []string{"Host:a", "Cookie:a=b", "cookie:c=d", "Empty:", "X-One:3"}},
		{"Set twice", func(h *Header) { h.Set("X-One", "3"); h.Set("x-ONE", "4") }, []string{"Host:a", "Cookie:a=b", "cookie:c=d", "Empty:", "x-ONE:4"}},
		{"SetID", func(h *Header) { h.SetID(Cookie, []byte("e")) }, []string{"Host:a", "x-one:1", "X-ONE:2", "Empty:", "Cookie:e"}},
		{"SetID to its own value", func(h *Header) { h.SetID(Cookie, h.Value(Cookie)) }, []string{"Host:a", "x-one:1", "X-ONE:2", "Empty:", "Cookie:a=b"}},
		{"Del a named field", func(h *Header) { h.Del("cookie") }, []string{"Host:a", "x-one:1", "X-ONE:2", "Empty:"}},
		{"Del another", func(h *Header) { h.Del("X-one") }, []string{"Host:a", "Cookie:a=b", "cookie:c=d", "Empty:"}},
		{"Del what is not there", func(h *Header) { h.Del("Via"); h.Del("X-Two") }, []string{"Host:a", "x-one:1", "Cookie:a=b", "X-ONE:2", "cookie:c=d", "Empty:"}},
		{"Del and Add", func(h *Header) { h.DelID(Cookie); h.AddID(Cookie, []byte("e")) }, []string{"Host:a", "x-one:1", "X-ONE:2", "Empty:", "Cookie:e"}},
		{"RemoveAt", func(h *Header) { h.RemoveAt(2) }, []string{"Host:a", "x-one:1", "X-ONE:2", "cookie:c=d", "Empty:"}},
		{"AddBytes of what lies in it", func(h *Header) {
			for range 50 { // grows the buffer that the values lie in
				_, name, value, _ := h.At(h.Len() - 1)
				h.AddBytes(name, append(value, 'x'))
				h.RemoveAt(h.Len() - 2)
			}
		}, []string{"Host:a", "x-one:1", "Cookie:a=b", "X-ONE:2", "cookie:c=d", "Empty:" + strings.Repeat("x", 50)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h Header
			parse(&h, head)
			test.do(&h)
			if diff := cmp.Diff(test.want, list(&h)); diff != "" {
				t.Error(diff)
			}
			if string(h.base) != head {
				t.Errorf("the head was written to: %q", h.base)
			}
		})
	}
}

func TestHeaderFind(t *testing.T) {
	var h Header
	parse(&h, head)
	for _, test := range []struct {
		name, want string
		ok         bool
	}{
		{"HOST", "a", true},
		{"Cookie", "a=b", true},
		{"x-one", "1", true},
		{"empty", "", true},
		{"Via", "", false},
		{"X-Two", "", false},
		{"", "", false},
	} {
		value, ok := h.Get(test.name)
		if string(value) != test.want || ok != test.ok {
			t.Errorf("Get(%q) = %q, %v", test.name, value, ok)
		}
		if id := Lookup(test.name); id != Other && (h.Has(id) != test.ok || string(h.Value(id)) != test.want) {
			t.Errorf("%q: Has = %v, Value = %q", test.name, h.Has(id), h.Value(id))
		}
	}

	var places []int
	for i := h.Next(Cookie, 0); i >= 0; i = h.Next(Cookie, i+1) {
		places = append(places, i)
	}
	if diff := cmp.Diff([]int{2, 4}, places); diff != "" {
		t.Error(diff)
	}

	h.RemoveAt(2)
	if got := h.Value(Cookie); string(got) != "c=d" {
		t.Errorf("behind a removed one: %q", got)
	}
	h.RemoveAt(4)
	if h.Has(Cookie) || h.Value(Cookie) != nil || h.Next(Cookie, 0) != -1 {
		t.Error("a field is found that was removed")
	}
	if _, ok := h.Get("cookie"); ok {
		t.Error("Get finds a field that was removed")
	}
	h.Reset(nil)
	if h.Len() != 0 || h.Has(Host) {
		t.Error("Reset leaves something")
	}
}

// What was added lies in memory of the header, so a slice handed out stays as it is while more is added.
func TestHeaderKeepsSlices(t *testing.T) {
	var h Header
	parse(&h, head)
	h.Add("X-Two", "two")
	value, _ := h.Get("X-Two")
	for range 100 {
		h.Add("X-Three", "three")
	}
	if again := append(value, '!'); string(value) != "two" || string(again) != "two!" {
		t.Errorf("%q, %q", value, again)
	}
	if got, _ := h.Get("X-Three"); string(got) != "three" {
		t.Errorf("appending to a value wrote into the next field: %q", got)
	}
}

func TestToken(t *testing.T) {
	for _, test := range []struct {
		head  string
		token string
		want  bool
	}{
		{"Connection:close\n", "close", true},
		{"Connection:Keep-Alive, Close\n", "close", true},
		{"Connection:keep-alive\nConnection: \t close \t ,x\n", "close", true},
		{"Connection:closed\n", "close", false},
		{"Connection:,, ,\n", "close", false},
		{"Connection:\n", "close", false},
		{"Via:close\n", "close", false},
		{"Connection:x close\n", "close", false},
	} {
		var h Header
		parse(&h, test.head)
		if got := h.Token(Connection, test.token); got != test.want {
			t.Errorf("%q: Token(%q) = %v", test.head, test.token, got)
		}
	}
}

func TestNextToken(t *testing.T) {
	var items []string
	for rest := []byte(" a ,\tb,, c,"); len(rest) > 0; {
		var item []byte
		item, rest = NextToken(rest)
		items = append(items, string(item))
	}
	if diff := cmp.Diff([]string{"a", "b", "", "c"}, items); diff != "" {
		t.Error(diff)
	}
}

func TestHeaderAllocates(t *testing.T) {
	var h Header
	raw := []byte(head)
	value := []byte("value")
	var sink []byte
	run := func() {
		h.Reset(raw)
		h.Append(Host, 0, 4, 5, 1)
		h.Append(Other, 7, 5, 13, 1)
		h.Append(Cookie, 15, 6, 22, 3)
		h.Set("X-Env", "prod")
		h.Set("x-one", "2")
		h.SetID(XRequestID, value)
		h.AddIDString(Via, "1.1 x")
		h.AddBytes(value, value)
		h.Del("Cookie")
		sink, _ = h.Get("X-Env")
		sink = h.Value(Host)
		h.Token(Connection, "close")
	}
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !bytes.Equal(sink, []byte("a")) {
		t.Errorf("Host is %q", sink)
	}
}

// FuzzHeader compares a Header with a plain list of lines, under any sequence of changes.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Add([]byte("\x05\x02\x0b\x11\x17\x1d\x00\x06\x0c"))
	names := []string{"Host", "cookie", "X-One", "x-ONE", "Via", "COOKIE"}
	f.Fuzz(func(t *testing.T, ops []byte) {
		var h Header
		parse(&h, head)
		model := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
		drop := func(name string) {
			var kept []string
			for _, line := range model {
				if n, _, _ := strings.Cut(line, ":"); !EqualFold(n, name) {
					kept = append(kept, line)
				}
			}
			model = kept
		}
		for i, op := range ops {
			name, value := names[int(op)%len(names)], strings.Repeat("v", i%5)
			switch op / 6 % 5 {
			case 0:
				h.Add(name, value)
				model = append(model, name+":"+value)
			case 1:
				h.Set(name, value)
				drop(name)
				model = append(model, name+":"+value)
			case 2:
				h.Del(name)
				drop(name)
			case 3:
				h.AddBytes([]byte(name), []byte(value))
				model = append(model, name+":"+value)
			case 4:
				var want string
				found := false
				for _, line := range model {
					if n, v, _ := strings.Cut(line, ":"); !found && EqualFold(n, name) {
						want, found = v, true
					}
				}
				if got, ok := h.Get(name); ok != found || string(got) != want {
					t.Fatalf("Get(%q) = %q, %v; want %q, %v", name, got, ok, want, found)
				}
			}
		}
		if got := list(&h); strings.Join(got, "\n") != strings.Join(model, "\n") {
			t.Fatalf("got %q, want %q", got, model)
		}
	})
}

func TestMerge(t *testing.T) {
	for _, test := range []struct {
		head   string
		tokens []string
		want   []string
	}{
		{"Host:a\n", []string{"Origin"}, []string{"Host:a", "Vary:Origin"}},
		{"Host:a\n", []string{"Origin", "Accept"}, []string{"Host:a", "Vary:Origin, Accept"}},
		{"vary:origin\n", []string{"Origin"}, []string{"vary:origin"}},
		{"vary:Cookie ,origin\n", []string{"Origin"}, []string{"vary:Cookie ,origin"}},
		{"vary:Cookie\n", []string{"Origin"}, []string{"Vary:Cookie, Origin"}},
		{"vary:Cookie,,\nVARY:Accept\nHost:a\n", []string{"accept", "Origin"}, []string{"Host:a", "Vary:Cookie, Accept, Origin"}},
		{"vary:Cookie\nVARY:Accept\n", []string{"accept"}, []string{"Vary:Cookie, Accept"}},
		{"vary:*\n", []string{"Origin"}, []string{"vary:*"}},
		{"vary:\n", []string{"Origin"}, []string{"Vary:Origin"}},
		{"vary:Originals\n", []string{"Origin"}, []string{"Vary:Originals, Origin"}},
	} {
		var h Header
		parse(&h, test.head)
		h.Merge("Vary", test.tokens...)
		if diff := cmp.Diff(test.want, list(&h)); diff != "" {
			t.Errorf("%q with %q: %s", test.head, test.tokens, diff)
		}
	}
	var h Header
	raw := []byte(head)
	if n := testing.AllocsPerRun(100, func() {
		h.Reset(raw)
		h.Merge("Vary", "Origin")
		h.Merge("Vary", "Accept-Encoding", "Origin")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

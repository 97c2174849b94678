package exchange

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func underscored(names ...string) *Header {
	var h Header
	for _, name := range names {
		h.Add(name, "v")
	}
	h.MarkUnderscored()
	return &h
}

func namesOf(h *Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, _, ok := h.At(i); ok {
			out = append(out, string(name))
		}
	}
	return out
}

func TestDropUnderscored(t *testing.T) {
	all := []string{
		"Host", "X-Kept", "X_Mine", "x_forwarded_for", "X-Forwarded_Proto", "X_Forwarded_Anything", "Transfer_Encoding", "Content_Length",
		"X_Request_Id", "True_Client_IP", "X-Original_URI", "Proxy_Connection", "_", "X_" + strings.Repeat("a", 100),
		"X_Forwarded_" + strings.Repeat("a", 100), "X-Forwarded-" + strings.Repeat("a", 100) + "_",
	}
	h := underscored(all...)
	h.DropUnderscored(false)
	if got, want := namesOf(h), []string{"Host", "X-Kept"}; !slices.Equal(got, want) || h.Underscored() {
		t.Errorf("all dropped: %q, want %q", got, want)
	}
	h = underscored(all...)
	h.DropUnderscored(true)
	if got, want := namesOf(h), []string{"Host", "X-Kept", "X_Mine", "_", "X_" + strings.Repeat("a", 100)}; !slices.Equal(got, want) || !h.Underscored() {
		t.Errorf("kept: %q, want %q", got, want)
	}
	h.Reset(nil)
	if h.Underscored() {
		t.Error("the next request's names are said to have underscores")
	}
}

// What a filter removes or sets must not stay under a name that an endpoint may take for it.
func TestDelUnderscored(t *testing.T) {
	h := underscored("X_User", "x-user", "X-USER", "X_User_Id", "Content_Type", "content-type")
	h.Set("X-User", "me")
	h.DelID(ContentType)
	if got, want := namesOf(h), []string{"X_User_Id", "X-User"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	var plain Header
	plain.Add("X_User", "v") // by an operator's own filter
	plain.Del("X-User")
	if got := namesOf(&plain); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestSpeaksForProxies(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-user", "X-Forwarded", "X-FORWARDED-SSL", "X-Real-IP", "x-original-url", "True-Client-IP", "cf-connecting-ip",
		"X-Scheme", "X-HTTP-HOST-OVERRIDE",
	} {
		if !SpeaksForProxies(Lookup(name), name) {
			t.Errorf("%s is left", name)
		}
	}
	for _, name := range []string{"", "X", "Host", "Cookie", "X-Request-Id", "Forwarded", "X-Forward", "X-Real-IPs", "X-User", strings.Repeat("x", 300)} {
		if SpeaksForProxies(Lookup(name), name) {
			t.Errorf("%s is removed", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { SpeaksForProxies(Other, []byte("X-Custom-Field")) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSpeaksForProxies(b *testing.B) {
	name := []byte("Sec-Fetch-Site")
	for b.Loop() {
		if SpeaksForProxies(Other, name) {
			b.Fatal()
		}
	}
}

// The list for people is the list.
func TestListIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/headers.md")
	if err != nil {
		t.Fatal(err)
	}
	for id := Host; id <= Last; id++ {
		if proxyFields>>id&1 != 0 && !strings.Contains(string(page), "`"+id.String()+"`") {
			t.Errorf("docs/headers.md does not name %s", id)
		}
	}
	for _, name := range proxyAliases {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/headers.md does not name %s", name)
		}
	}
	_, list, _ := strings.Cut(string(page), "## The default list")
	list, _, _ = strings.Cut(list, "`X-Request-Id`")
	for _, name := range regexp.MustCompile("`([A-Za-z0-9-]+)`").FindAllStringSubmatch(list, -1) {
		if n := name[1]; n != "Forwarded" && !SpeaksForProxies(Lookup(n), n) {
			t.Errorf("docs/headers.md names %s, which is not removed", n)
		}
	}
}

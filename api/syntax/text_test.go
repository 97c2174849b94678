package syntax

import (
	"regexp/syntax"
	"strings"
	"testing"
)

// What a regular expression costs is told before it is compiled, and not much less than it turns out to be.
func TestRegexSize(t *testing.T) {
	for pattern, tooLarge := range map[string]bool{
		"^/api/(v[0-9]+)/items$":                     false,
		"^(?i)/[a-z0-9_-]{1,64}/download\\.zip$":     false,
		"(x?){1000}":                                 true,
		strings.Repeat(".{1000}", 145):               true,
		"((a{10}){10}){9}":                           true,
		strings.Repeat("a", 999):                     false,
		strings.Repeat("a", MaxRegexSize+1):          true,
		"(?:" + strings.Repeat("[ab]c+", 400) + ")*": true,
	} {
		if got := CheckRegex(pattern); (got != "") != tooLarge {
			t.Errorf("%.40s: %q", pattern, got)
		}
		size, err := RegexSize(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if size > 20*MaxRegexSize {
			continue // compiling it is what must not be done
		}
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if compiled := len(program.Inst); size*2 < compiled {
			t.Errorf("%.40s: estimated %d, is %d", pattern, size, compiled)
		}
	}
}

func TestShown(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "bind_adress": "bind_adress", "example.com/a-b": "example.com/a-b",
		"password:hunter2": "password…", "Authorization: Bearer x": "Authorization…", "é": "…", "a\nb": "a…",
	} {
		if got := Shown(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestCheckSecretRegex(t *testing.T) {
	const secret = "hunter2"
	for _, s := range []string{"(" + secret, secret + ")", "[" + secret, secret + `\`, `(?P<` + secret, "**" + secret, secret + "{2,1}", secret + `\8`, "", strings.Repeat(secret+"?", 1000)} {
		detail := CheckSecretRegex(s)
		if detail == "" || strings.Contains(detail, secret) {
			t.Errorf("%.30q: %q", s, detail)
		}
	}
	if detail := CheckSecretRegex("^" + secret + "$"); detail != "" {
		t.Error(detail)
	}
}

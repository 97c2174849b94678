package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// parse returns the elements of the page.
func parse(t *testing.T) []*html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(New().HTML))
	if err != nil {
		t.Fatal(err)
	}
	var all []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func elements(all []*html.Node, name string) (found []*html.Node) {
	for _, n := range all {
		if n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

// The policy lets the page's own style and script work, and nothing else.
func TestPolicy(t *testing.T) {
	all := parse(t)
	policy := New().Policy
	for _, name := range []string{"style", "script"} {
		found := elements(all, name)
		if len(found) != 1 || found[0].FirstChild == nil {
			t.Fatalf("%d %s elements", len(found), name)
		}
		sum := sha256.Sum256([]byte(found[0].FirstChild.Data))
		if want := name + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want+";") {
			t.Errorf("the policy %s has no %s", policy, want)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Error(policy)
	}
}

func TestNothingComesFromElsewhere(t *testing.T) {
	for _, n := range parse(t) {
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style":
				t.Errorf("<%s %s>: the policy forbids it", n.Data, a.Key)
			case slices.Contains([]string{"src", "srcset", "href", "action", "data", "poster"}, a.Key) &&
				a.Val != "data:," && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "/api/v1/"):
				t.Errorf("<%s %s=%q> leaves the page", n.Data, a.Key, a.Val)
			}
		}
	}
	text := string(New().HTML)
	if strings.Contains(text, "://") || strings.Contains(text, "@import") || regexp.MustCompile(`url\(`).MatchString(text) {
		t.Error("the page names something outside")
	}
}

// What a user has configured is text: the script has no way to make markup of it.
func TestTheScriptMakesNoMarkup(t *testing.T) {
	for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function(", "srcdoc", "createContextualFragment", "setHTML"} {
		if strings.Contains(script, word) {
			t.Errorf("the script uses %s", word)
		}
	}
}

func TestAccessible(t *testing.T) {
	all := parse(t)
	ids := map[string]*html.Node{}
	for _, n := range all {
		if id := attribute(n, "id"); id != "" {
			if ids[id] != nil {
				t.Errorf("two elements are #%s", id)
			}
			ids[id] = n
		}
	}
	if attribute(elements(all, "html")[0], "lang") != "en" || len(elements(all, "title")) != 1 || len(elements(all, "h1")) != 1 {
		t.Error("the language, the title or the heading is missing")
	}
	for _, landmark := range []string{"header", "nav", "main", "footer"} {
		if len(elements(all, landmark)) != 1 {
			t.Errorf("there is no %s", landmark)
		}
	}
	for _, n := range all {
		for _, reference := range []string{"for", "aria-labelledby", "aria-describedby"} {
			if id := attribute(n, reference); id != "" && ids[id] == nil {
				t.Errorf("<%s %s=%q>: there is no such element", n.Data, reference, id)
			}
		}
		if href := attribute(n, "href"); strings.HasPrefix(href, "#") && ids[href[1:]] == nil {
			t.Errorf("%s leads nowhere", href)
		}
		switch n.Data {
		case "section":
			if attribute(n, "aria-labelledby") == "" {
				t.Error("a section has no name")
			}
		case "nav":
			if attribute(n, "aria-label") == "" {
				t.Error("the navigation has no name")
			}
		case "input":
			if !slices.ContainsFunc(elements(all, "label"), func(l *html.Node) bool { return attribute(l, "for") == attribute(n, "id") }) {
				t.Error("an input has no label")
			}
		case "button":
			if attribute(n, "type") != "button" || n.FirstChild == nil {
				t.Error("a button has no type or no name")
			}
		case "div":
			if attribute(n, "data-table") != "" && attribute(n, "data-caption") == "" {
				t.Errorf("the table %s has no caption", attribute(n, "data-table"))
			}
		}
	}
	if attribute(ids["announce"], "aria-live") != "polite" {
		t.Error("changes are not announced")
	}
	for _, word := range []string{"scope: 'col'", "scope: 'row'", "caption"} {
		if !strings.Contains(script, word) {
			t.Errorf("the script makes no %s", word)
		}
	}
	for _, word := range []string{"prefers-color-scheme: dark", ":focus-visible"} {
		if !strings.Contains(style, word) {
			t.Errorf("the style has no %s", word)
		}
	}
}

package filter

import (
	"fmt"
	"regexp"
	"strings"
)

// Captures builds a text of which parts come from the groups of a route's regular expressions: "/new/$1" or
// "/new/${1}x". "$$" is a dollar sign; one before anything else stands for itself.
type Captures struct {
	patterns []*regexp.Regexp
	parts    []part
}

type part struct {
	text  string
	group int // of the pattern; 0: text
}

// NewCaptures reads template for the groups of patterns, of which one at least must have each group that it names. A
// template for no pattern at all is a text in which no dollar sign means anything.
func NewCaptures(template string, patterns []string) (*Captures, error) {
	c := &Captures{}
	if len(patterns) == 0 {
		c.parts = []part{{text: template}}
		return c, nil
	}
	groups := 0
	for _, expr := range patterns {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, fmt.Errorf("regular expression %q: %w", expr, err)
		}
		groups = max(groups, re.NumSubexp())
		c.patterns = append(c.patterns, re)
	}
	for template != "" {
		text, rest, found := strings.Cut(template, "$")
		c.text(text)
		if !found {
			break
		}
		group, after := reference(rest)
		switch {
		case group > groups:
			return nil, fmt.Errorf("$%d: the route's regular expression has %d groups", group, groups)
		case group > 0:
			c.parts = append(c.parts, part{group: group})
		default:
			c.text("$")
			after = strings.TrimPrefix(rest, "$")
		}
		template = after
	}
	return c, nil
}

func (c *Captures) text(s string) {
	if s != "" {
		c.parts = append(c.parts, part{text: s})
	}
}

// reference reads "1" or "{1}", and returns 0 where neither stands there.
func reference(s string) (group int, rest string) {
	digits, braced := strings.CutPrefix(s, "{")
	n := 0
	for n < len(digits) && n < 3 && '0' <= digits[n] && digits[n] <= '9' {
		group = 10*group + int(digits[n]-'0')
		n++
	}
	rest = digits[n:]
	if braced {
		after, closed := strings.CutPrefix(rest, "}")
		if !closed {
			return 0, s
		}
		rest = after
	}
	return group, rest
}

// Static reports whether the text is always the same.
func (c *Captures) Static() bool {
	for _, p := range c.parts {
		if p.group > 0 {
			return false
		}
	}
	return true
}

// Append appends the text, with the groups of the first pattern that matches path. A group that took no part in the
// match, or of which no pattern matches, is empty.
func (c *Captures) Append(dst, path []byte) []byte {
	var at []int
	for _, re := range c.patterns {
		if at = re.FindSubmatchIndex(path); at != nil {
			break
		}
	}
	return c.AppendMatch(dst, path, at)
}

// AppendMatch appends the text, with the groups of one match in path, as regexp.Regexp.FindSubmatchIndex tells them.
func (c *Captures) AppendMatch(dst, path []byte, at []int) []byte {
	for _, p := range c.parts {
		if p.group == 0 {
			dst = append(dst, p.text...)
		} else if i := 2 * p.group; i < len(at) && at[i] >= 0 {
			dst = append(dst, path[at[i]:at[i+1]]...)
		}
	}
	return dst
}

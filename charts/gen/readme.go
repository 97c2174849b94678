package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

const introduction = `# The chart's values

Generated from ` + "`values.yaml`" + `; do not edit. [docs/install.md](../../docs/install.md) says how to install, upgrade and remove the chart.
A value that is not listed is refused. Where a value takes objects of Kubernetes whose fields are not listed here, the API server refuses
what it does not know.
`

// keyLine is a line of values.yaml that begins a value.
var keyLine = regexp.MustCompile(`^( *)([A-Za-z_]+):`)

// A row is one value of the table, or the heading of a section.
type row struct {
	heading string
	path    []string
	text    string
}

// readme makes the page from the comments of values.yaml.
func readme(values []byte) ([]byte, error) {
	rows, err := describe(string(values))
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := yaml.Unmarshal(values, &all); err != nil {
		return nil, err
	}
	out := bytes.NewBufferString(introduction)
	for _, r := range rows {
		if r.heading != "" {
			fmt.Fprintf(out, "\n## %s\n\n| value | default | |\n|---|---|---|\n", r.heading)
			continue
		}
		value, err := defaultOf(all, rows, r.path)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", strings.Join(r.path, "."), value, strings.ReplaceAll(r.text, "|", `\|`))
	}
	return out.Bytes(), nil
}

// describe reads the comments: those right above a key describe it, and one with two number signs begins a section. A
// value that neither has a comment nor lies in one that has is an error.
func describe(values string) ([]row, error) {
	type level struct {
		line, indent int
		key          string
		described    bool
	}
	var rows []row
	var above []level    // the keys that the current line lies in
	var comment []string // the lines right above
	list := len(values)  // the indentation of the list that the current line lies in
	group := -1          // the line of a key without a comment, which is fine if it holds keys with one
	undescribed := func() error { return fmt.Errorf("line %d: the value has no comment", group+1) }
	for n, line := range strings.Split(values, "\n") {
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		switch {
		case text == "":
			comment = nil
			continue
		case strings.HasPrefix(text, "## "):
			rows = append(rows, row{heading: strings.TrimPrefix(text, "## ")})
			continue
		case strings.HasPrefix(text, "#"):
			comment = append(comment, strings.TrimSpace(strings.TrimPrefix(text, "#")))
			continue
		case indent > list:
			continue
		case strings.HasPrefix(text, "- "):
			list = indent
			continue
		}
		list = len(values)
		match := keyLine.FindStringSubmatch(line)
		if match == nil {
			return nil, fmt.Errorf("line %d: neither a comment nor a key: %q", n+1, line)
		}
		for len(above) > 0 && above[len(above)-1].indent >= indent {
			above = above[:len(above)-1]
		}
		if group >= 0 && (len(above) == 0 || above[len(above)-1].line != group) {
			return nil, undescribed()
		}
		group = -1
		at := level{line: n, indent: indent, key: match[2], described: len(comment) > 0}
		covered := at.described
		for _, l := range above {
			covered = covered || l.described
		}
		above = append(above, at)
		if !covered {
			group = n
		}
		if at.described {
			r := row{text: strings.Join(comment, " ")}
			for _, l := range above {
				r.path = append(r.path, l.key)
			}
			rows = append(rows, r)
		}
		comment = nil
	}
	if group >= 0 {
		return nil, undescribed()
	}
	return rows, nil
}

// defaultOf is what a value is without being set, empty where rows of its own say so for the values in it.
func defaultOf(all map[string]any, rows []row, path []string) (string, error) {
	prefix := strings.Join(path, ".") + "."
	for _, r := range rows {
		if strings.HasPrefix(strings.Join(r.path, "."), prefix) {
			return "", nil
		}
	}
	var value any = all
	for _, key := range path {
		value = value.(map[string]any)[key] // there: the path was read from the same text
	}
	if value == nil {
		return "unset", nil
	}
	text, err := json.Marshal(value)
	return "`" + string(text) + "`", err
}

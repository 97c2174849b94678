package outline

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// An Op is what happens to a Part.
type Op string

// The operations.
const (
	Added   Op = "+"
	Removed Op = "-"
	Changed Op = "~"
)

// A Change is one difference between two outlines.
type Change struct {
	Op    Op     `json:"op"`
	Path  string `json:"path"`            // listeners[0.0.0.0:80].routes[shop/api].timeouts.request
	Old   string `json:"old,omitempty"`   // empty: it was not set, or it is no single value
	New   string `json:"new,omitempty"`   // empty: it is not set any more, or it is no single value
	Parts []Part `json:"parts,omitempty"` // of what is added or removed
}

// reordered is the old and the new value of a list whose items stand in another order.
const reordered = "in another order"

// Diff lists what must change to make b of a.
func Diff(a, b []Part) []Change { return diff(nil, "", a, b) }

func diff(all []Change, at string, a, b []Part) []Change {
	begin := len(all)
	other := -1
	before, after := index(a), index(b)
	for _, old := range a {
		where := join(at, old.Name)
		i, there := after[old.Name]
		if !there && item(old) {
			all = append(all, Change{Op: Removed, Path: where, Old: old.Value, Parts: old.Parts})
			continue
		}
		next := Part{} // what is not set
		if there {
			next = b[i]
		}
		if old.Value != next.Value {
			if old.Name == Other {
				other = len(all)
			}
			all = append(all, Change{Op: Changed, Path: where, Old: old.Value, New: next.Value})
		}
		all = diff(all, where, old.Parts, next.Parts)
		if old.Ordered && !sameOrder(old.Parts, next.Parts) {
			all = append(all, Change{Op: Changed, Path: where, Old: reordered, New: reordered})
		}
	}
	for _, p := range b {
		where := join(at, p.Name)
		switch _, there := before[p.Name]; {
		case there:
		case item(p):
			all = append(all, Change{Op: Added, Path: where, New: p.Value, Parts: p.Parts})
		default:
			if p.Value != "" {
				all = append(all, Change{Op: Changed, Path: where, New: p.Value})
			}
			all = diff(all, where, nil, p.Parts)
		}
	}
	if other >= 0 && len(all)-begin > 1 { // one of those that are seen has made the difference
		all = slices.Delete(all, other, other+1)
	}
	return all
}

// item reports whether a Part is one of a list.
func item(p Part) bool { return strings.HasPrefix(p.Name, "[") }

// sameOrder compares the order of what both have.
func sameOrder(a, b []Part) bool {
	common := func(of []Part, in map[string]int) (names []string) {
		for _, p := range of {
			if _, there := in[p.Name]; there {
				names = append(names, p.Name)
			}
		}
		return names
	}
	return slices.Equal(common(a, index(b)), common(b, index(a)))
}

// index finds parts by their names.
func index(parts []Part) map[string]int {
	at := make(map[string]int, len(parts))
	for i, p := range parts {
		at[p.Name] = i
	}
	return at
}

func join(path, name string) string {
	if path == "" || strings.HasPrefix(name, "[") {
		return path + name
	}
	return path + "." + name
}

// Write prints changes for people, a line each, and below what is added or removed its settings.
func Write(w io.Writer, changes []Change) error {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s", c.Op, c.Path)
		switch {
		case c.Op == Changed && c.Old == c.New:
			fmt.Fprintf(&b, ": %s", c.New)
		case c.Op == Changed && strings.HasSuffix(c.Path, "."+Other):
			b.WriteString(": changed")
		case c.Op == Changed:
			fmt.Fprintf(&b, ": %s -> %s", or(c.Old, "unset"), or(c.New, "unset"))
		case c.Old+c.New != "":
			fmt.Fprintf(&b, ": %s", c.Old+c.New)
		}
		b.WriteByte('\n')
		each("", c.Parts, func(path, value string) { fmt.Fprintf(&b, "%s     %s: %s\n", c.Op, path, value) })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// each calls yield with the values below parts.
func each(at string, parts []Part, yield func(path, value string)) {
	for _, p := range parts {
		if p.Name == Other {
			continue
		}
		where := join(at, p.Name)
		if p.Value != "" {
			yield(where, p.Value)
		}
		each(where, p.Parts, yield)
	}
}

package claims

import (
	"maps"
	"slices"
	"strings"
)

// Hosts knows which namespaces have which hosts. It finds what overlaps without comparing a host with every other: objects
// may name many.
type Hosts struct {
	owners map[string]string            // namespaces, by host
	below  map[string]map[string]string // a host that ends in a suffix, by the suffix and the host's namespace
}

// NewHosts returns one in which nobody has any.
func NewHosts() *Hosts {
	return &Hosts{owners: map[string]string{}, below: map[string]map[string]string{}}
}

// Claim gives a host to a namespace.
func (o *Hosts) Claim(host, namespace string) {
	o.owners[host] = namespace
	for suffix := range suffixes(host) {
		if o.below[suffix] == nil {
			o.below[suffix] = map[string]string{}
		}
		o.below[suffix][namespace] = host
	}
}

// Taken says whether another namespace has the host, a wildcard that covers it, or a part of what it covers.
func (o *Hosts) Taken(host, namespace string) (by, owner string, taken bool) {
	if owner := o.owners[host]; owner != "" && owner != namespace {
		return host, owner, true
	}
	for suffix := range suffixes(host) {
		if owner := o.owners["*."+suffix]; owner != "" && owner != namespace {
			return "*." + suffix, owner, true
		}
	}
	if name, wildcard := strings.CutPrefix(host, "*."); wildcard {
		for _, owner := range slices.Sorted(maps.Keys(o.below[name])) {
			if owner != namespace {
				return o.below[name][owner], owner, true
			}
		}
	}
	return "", "", false
}

// suffixes are the names that a host, or what a wildcard covers, ends in.
func suffixes(host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		rest := strings.TrimPrefix(host, "*.")
		for {
			_, after, more := strings.Cut(rest, ".")
			if !more || !yield(after) {
				return
			}
			rest = after
		}
	}
}

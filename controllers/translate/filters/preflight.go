package filters

import (
	"regexp"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Preflights are the matches with which a route that has a cors filter takes preflight requests besides. Such a request asks
// for another one: it has the path and the query of that, names its method and its own fields in fields that the Fetch
// standard has for it, and is an OPTIONS itself. Matches that take it as it is need no other.
func Preflights(user []v1alpha1.Filter, matches []snapshot.Match) []snapshot.Match {
	if !slices.ContainsFunc(user, func(f v1alpha1.Filter) bool { return f.CORS != nil }) {
		return nil
	}
	var out []snapshot.Match
	for _, m := range matches {
		if len(m.Headers) == 0 && (len(m.Methods) == 0 || slices.Contains(m.Methods, "OPTIONS")) {
			continue
		}
		method := "."
		if len(m.Methods) > 0 {
			names := make([]string, len(m.Methods))
			for i, name := range m.Methods {
				names[i] = regexp.QuoteMeta(name)
			}
			method = "^(" + strings.Join(names, "|") + ")$"
		}
		p := snapshot.Match{PathType: m.PathType, Path: m.Path, Methods: []string{"OPTIONS"}, Query: m.Query, Headers: []snapshot.ValueMatch{
			{Name: "Origin", Value: ".", Regex: true},
			{Name: "Access-Control-Request-Method", Value: method, Regex: true},
		}}
		for _, h := range m.Headers {
			switch name := strings.ToLower(h.Name); {
			case holds(carriedFields, name) || strings.HasPrefix(name, "x-forwarded-"):
				p.Headers = append(p.Headers, h)
			case !holds(unnamedFields, name) && !strings.HasPrefix(name, "sec-"):
				p.Headers = append(p.Headers, snapshot.ValueMatch{
					Name: "Access-Control-Request-Headers", Value: `(?i)(^|,)[ \t]*` + regexp.QuoteMeta(name) + `[ \t]*(,|$)`, Regex: true,
				})
			}
		}
		out = append(out, p)
	}
	return out
}

// A preflight request carries some fields like the one that it asks for. Others it neither carries nor names, because the
// browser or the user sets them, or every page may.
const (
	carriedFields = "origin user-agent host x-real-ip"
	unnamedFields = "accept accept-encoding accept-language connection content-language content-length content-type cookie date dnt " +
		"expect keep-alive range referer te trailer transfer-encoding upgrade via"
)

func holds(words, word string) bool { return slices.Contains(strings.Fields(words), word) }

package parts

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Retry says when a request is tried again.
func Retry(r *v1alpha1.Retry) snapshot.Retry {
	if r == nil {
		return snapshot.Retry{Attempts: 1}
	}
	out := snapshot.Retry{
		Attempts:      int(optional.Value(r.Attempts)),
		PerTryTimeout: ms(r.PerTryTimeoutMs),
		BudgetPercent: int(optional.Value(r.BudgetPercent)),
	}
	for _, c := range r.Codes {
		out.Codes = append(out.Codes, int(c))
	}
	return out
}

// Timeouts puts those that are set in the place of others.
func Timeouts(into *snapshot.Timeouts, from *v1alpha1.Timeouts) {
	if from == nil {
		return
	}
	if from.ConnectMs != nil {
		into.Connect = ms(from.ConnectMs)
	}
	if from.RequestMs != nil {
		into.Request = ms(from.RequestMs)
	}
	if from.IdleSecs != nil {
		into.Idle = Secs(from.IdleSecs)
	}
}

// Match says which requests a route takes.
func Match(m *v1alpha1.Match) snapshot.Match {
	out := snapshot.Match{Methods: m.Methods, Headers: valueMatches(m.Headers), Query: valueMatches(m.Query)}
	if m.Path != nil {
		out.Path = optional.Value(m.Path.Value)
		switch optional.Value(m.Path.Type) {
		case v1alpha1.PathMatchExact:
			out.PathType = snapshot.PathExact
		case v1alpha1.PathMatchRegex:
			out.PathType = snapshot.PathRegex
		}
	}
	return out
}

func valueMatches(list []v1alpha1.ValueMatch) []snapshot.ValueMatch {
	var out []snapshot.ValueMatch
	for _, v := range list {
		out = append(out, snapshot.ValueMatch{Name: v.Name, Value: optional.Value(v.Value), Regex: optional.Value(v.Type) == v1alpha1.ValueMatchRegex})
	}
	return out
}

func ms(n *int32) time.Duration { return time.Duration(optional.Value(n)) * time.Millisecond }

// Secs are seconds; none, where they are not set.
func Secs(n *int32) time.Duration { return time.Duration(optional.Value(n)) * time.Second }

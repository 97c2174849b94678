package translate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func tracing(in Input) snapshot.Tracing {
	t := in.Globals.Tracing
	out := snapshot.Tracing{
		Endpoint: deref(t.OTLPEndpoint), SamplePercent: float64(deref(t.SamplePercent)), CA: in.Contents["tracing.caRef"].Data,
		W3C: len(t.Propagation) == 0 || slices.Contains(t.Propagation, settings.PropagationW3C),
		B3:  slices.Contains(t.Propagation, settings.PropagationB3),
	}
	if t.Protocol != nil {
		out.HTTP = *t.Protocol == settings.TracingHTTP
	} else if u, err := url.Parse(out.Endpoint); err == nil {
		out.HTTP = u.Port() == "4318" || strings.Trim(u.Path, "/") != ""
	}
	return out
}

func store(in Input) snapshot.Store {
	s := in.Globals.RateLimitStore
	return snapshot.Store{
		RedisURL: deref(s.RedisURL), Timeout: ms(s.TimeoutMs), CA: in.Contents["rateLimitStore.caRef"].Data,
		Password: snapshot.Secret(strings.TrimRight(string(in.Contents["rateLimitStore.passwordRef"].Data), "\r\n")),
	}
}

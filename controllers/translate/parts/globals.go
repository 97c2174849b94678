package parts

import (
	"net/url"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Limits bounds what clients may do.
func Limits(l settings.Limits) snapshot.Limits {
	return snapshot.Limits{
		MaxConnections: int(*l.MaxConnections),
		MaxRequests:    int(*l.MaxRequests),
		MaxRequestLine: int(*l.MaxRequestLineBytes),
		MaxHeaderBytes: int(*l.MaxHeaderBytes),
		MaxHeaders:     int(*l.MaxHeaders),
		HeaderTimeout:  ms(l.HeaderTimeoutMs),
		MinBodyRate:    int(*l.MinBodyBytesPerSec),
		DrainTimeout:   Secs(l.DrainTimeoutSecs),
		Via:            *l.Via,
	}
}

// AccessLog says how requests are logged.
func AccessLog(a settings.AccessLog) snapshot.AccessLog {
	return snapshot.AccessLog{Path: *a.Path, Format: string(*a.Format), SamplePercent: float64(*a.SamplePercent)}
}

// Tracing says where spans go. ca is what caRef names.
func Tracing(t settings.Tracing, ca []byte) snapshot.Tracing {
	out := snapshot.Tracing{
		Endpoint: optional.Value(t.OTLPEndpoint), SamplePercent: float64(optional.Value(t.SamplePercent)), CA: ca,
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

// Store says where rate limits are counted together. ca and password are what the references name.
func Store(s settings.RateLimitStore, ca, password []byte) snapshot.Store {
	return snapshot.Store{
		RedisURL: optional.Value(s.RedisURL), Timeout: ms(s.TimeoutMs), CA: ca,
		Password: snapshot.Secret(strings.TrimRight(string(password), "\r\n")),
	}
}

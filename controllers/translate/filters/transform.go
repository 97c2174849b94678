package filters

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/bodylimit"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/buffer"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/compress"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/cors"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/headers"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/mirror"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/redirect"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/respond"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/rewrite"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/security"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func (l *list) security(user []v1alpha1.Filter) {
	for _, f := range user {
		if s := f.SecurityHeaders; s != nil {
			l.add(security.Config{
				Owner:             l.Snapshot.ID(),
				HSTSMaxAge:        int(optional.Value(s.HSTSMaxAgeSecs)),
				HSTSSubDomains:    optional.Value(s.HSTSIncludeSubDomains),
				FrameOptions:      unlessOff(s.FrameOptions),
				ReferrerPolicy:    unlessOff(s.ReferrerPolicy),
				ContentSecurity:   optional.Value(s.ContentSecurityPolicy),
				PermissionsPolicy: optional.Value(s.PermissionsPolicy),
			}, "securityHeaders")
		}
	}
}

func unlessOff(s *string) string {
	if v := optional.Value(s); v != v1alpha1.Off {
		return v
	}
	return ""
}

func (l *list) cors(user []v1alpha1.Filter) {
	for _, f := range user {
		if c := f.CORS; c != nil {
			l.add(cors.Config{
				Owner:       l.Snapshot.ID(),
				Origins:     c.AllowOrigins,
				Methods:     corsMethods(c, l.Snapshot.Matches),
				Headers:     c.AllowHeaders,
				Expose:      c.ExposeHeaders,
				Credentials: optional.Value(c.AllowCredentials),
				MaxAge:      int(optional.Value(c.MaxAgeSecs)),
			}, "cors")
		}
	}
}

// corsMethods are the methods that pages of other origins may use: those of the filter, else those that the matches of the
// route name.
func corsMethods(c *v1alpha1.CORSFilter, matches []snapshot.Match) []string {
	if len(c.AllowMethods) > 0 {
		return c.AllowMethods
	}
	var named []string
	all := len(matches) == 0
	for _, m := range matches {
		all = all || len(m.Methods) == 0
		for _, method := range m.Methods {
			if !slices.Contains(named, method) {
				named = append(named, method)
			}
		}
	}
	if all {
		for _, method := range [...]string{"GET", "HEAD", "POST"} {
			if !slices.Contains(named, method) {
				named = append(named, method)
			}
		}
	}
	return named
}

// redirect adds a redirection. No filter below it is ever reached, so those that change responses come first.
func (l *list) redirect(user []v1alpha1.Filter) {
	if !slices.ContainsFunc(user, func(f v1alpha1.Filter) bool { return f.Redirect != nil }) {
		return
	}
	l.answers = true
	for _, f := range user {
		switch {
		case f.ResponseHeaders != nil:
			l.add(headersConfig(l, headers.Response, f.ResponseHeaders), "responseHeaders")
		case f.Compression != nil:
			l.add(compressConfig(l, f.Compression), "compression")
		}
	}
	for _, f := range user {
		if f.Redirect != nil {
			l.add(redirectConfig(l, f.Redirect), "redirect")
		}
	}
}

// respond adds a fixed answer, which is only for those that everything above lets pass.
func (l *list) respond(user []v1alpha1.Filter) {
	for _, f := range user {
		if r := f.Respond; r != nil {
			l.answers = true
			l.add(respond.Config{
				Owner: l.Snapshot.ID(), Code: int(optional.Value(r.Code)), Body: optional.Value(r.Body), ContentType: optional.Value(r.ContentType),
			}, "respond")
		}
	}
}

// bodyLimit adds the limit of the route, else that of the service.
func (l *list) bodyLimit() {
	var limit *int64
	if l.Service.Limits != nil {
		limit = l.Service.Limits.MaxBodyBytes
	}
	if l.Route != nil && l.Route.Limits != nil && l.Route.Limits.MaxBodyBytes != nil {
		limit = l.Route.Limits.MaxBodyBytes
	}
	if limit != nil {
		l.add(bodylimit.Config{Owner: l.Snapshot.ID(), Max: *limit}, "limits.maxBodyBytes")
	}
}

// user adds the user's filters that have no place of their own.
func (l *list) user(user []v1alpha1.Filter) {
	for i, f := range user {
		switch {
		case f.RequestHeaders != nil:
			l.add(headersConfig(l, headers.Request, f.RequestHeaders), "requestHeaders")
		case f.ResponseHeaders != nil && !l.answers:
			l.add(headersConfig(l, headers.Response, f.ResponseHeaders), "responseHeaders")
		case f.Rewrite != nil:
			l.add(rewriteConfig(l, f.Rewrite), "rewrite")
		case f.Mirror != nil:
			l.mirror(f.Mirror, fmt.Sprintf("%s.filters[%d].mirror.backend", l.Field, i))
		case f.Compression != nil && !l.answers:
			l.add(compressConfig(l, f.Compression), "compression")
		case f.Buffer != nil:
			l.add(buffer.Config{Owner: l.Snapshot.ID(), Max: int(optional.Value(f.Buffer.MaxBytes))}, "buffer")
		}
	}
}

// maxMirrorTime is how long a copy may wait for its answer, in which it holds memory.
const maxMirrorTime = 15 * time.Second

// mirror adds a mirror. One that has nowhere to send copies to is left out, and that is reported: the route serves without
// it.
func (l *list) mirror(f *v1alpha1.MirrorFilter, field string) {
	if l.answers || f.Backend == nil {
		return
	}
	cluster, err := l.Cluster(field, f.Backend)
	if err != nil {
		return
	}
	timeout := maxMirrorTime
	if t := l.Snapshot.Timeouts.Request; t > 0 {
		timeout = min(timeout, t)
	}
	l.add(mirror.Config{
		Owner: l.Snapshot.ID(), Cluster: cluster, Percent: int(optional.Value(f.Percent)), MaxBody: int(optional.Value(f.MaxBodyBytes)), Timeout: timeout,
	}, "mirror")
}

func compressConfig(l *list, f *v1alpha1.CompressionFilter) compress.Config {
	c := compress.Config{Owner: l.Snapshot.ID(), MinBytes: int(optional.Value(f.MinBytes)), Types: f.ContentTypes}
	for _, a := range f.Algorithms {
		c.Algorithms = append(c.Algorithms, string(a))
	}
	return c
}

func redirectConfig(l *list, f *v1alpha1.RedirectFilter) redirect.Config {
	return redirect.Config{
		Owner:    l.Snapshot.ID(),
		Scheme:   string(optional.Value(f.Scheme)),
		Host:     optional.Value(f.Host),
		Port:     uint16(optional.Value(f.Port)), //nolint:gosec // 1 to 65535, by validation
		Path:     optional.Value(f.Path),
		Patterns: patterns(l.Snapshot),
		Code:     int(optional.Value(f.Code)),
	}
}

func rewriteConfig(l *list, f *v1alpha1.RewriteFilter) rewrite.Config {
	c := rewrite.Config{
		Owner:         l.Snapshot.ID(),
		ReplacePrefix: optional.Value(f.ReplacePrefix),
		Path:          optional.Value(f.Path),
		Patterns:      patterns(l.Snapshot),
		Host:          optional.Value(f.Host),
		KeepSlashes:   l.Snapshot.Service.KeepSlashes,
	}
	if f.Regex != nil {
		c.Pattern, c.Substitution = f.Regex.Pattern, f.Regex.Substitution
	}
	return c
}

func headersConfig(l *list, on headers.On, f *v1alpha1.HeaderFilter) headers.Config {
	return headers.Config{Owner: l.Snapshot.ID(), On: on, Set: fields(f.Set), Add: fields(f.Add), Remove: f.Remove}
}

// fields are sorted, so that the same map always makes the same filter.
func fields(m map[string]string) []headers.Field {
	var out []headers.Field
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, headers.Field{Name: name, Value: m[name]})
	}
	return out
}

// patterns are the regular expressions of a route whose path conditions are nothing else: groups of others have no
// meaning.
func patterns(r *snapshot.Route) []string {
	var out []string
	for _, m := range r.Matches {
		if m.PathType != snapshot.PathRegex {
			return nil
		}
		out = append(out, m.Path)
	}
	return out
}

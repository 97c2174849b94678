package defaults

import (
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func setFilter(f *v1alpha1.Filter) {
	if f.Redirect != nil {
		fill(&f.Redirect.Code, 302)
	}
	if r := f.Respond; r != nil {
		fill(&r.Code, 200)
		fill(&r.Body, "")
		fill(&r.ContentType, "text/plain; charset=utf-8")
	}
	if c := f.CORS; c != nil {
		fill(&c.AllowCredentials, false)
		fill(&c.MaxAgeSecs, 5)
	}
	if m := f.Mirror; m != nil {
		setAside(m.Backend)
		fill(&m.Percent, 100)
		fill(&m.MaxBodyBytes, 65536)
	}
	if c := f.Compression; c != nil {
		fill(&c.MinBytes, 1024)
	}
	if h := f.SecurityHeaders; h != nil {
		fill(&h.HSTSMaxAgeSecs, 31536000)
		fill(&h.HSTSIncludeSubDomains, false)
		fill(&h.FrameOptions, "SAMEORIGIN")
		fill(&h.ReferrerPolicy, "strict-origin-when-cross-origin")
	}
	if f.Buffer != nil {
		fill(&f.Buffer.MaxBytes, 1048576)
	}
}

// Auth fills in what is unset of an authentication, which may be nil.
func Auth(a *v1alpha1.Auth) {
	if a == nil {
		return
	}
	fill(&a.Mode, v1alpha1.AuthRequired)
	for i := range a.JWT {
		fill(&a.JWT[i].ForwardToken, true)
		fill(&a.JWT[i].LeewaySecs, 30)
	}
	if a.Basic != nil {
		fill(&a.Basic.Realm, "restricted")
	}
	if a.APIKey != nil {
		fill(&a.APIKey.Header, "X-API-Key")
		fill(&a.APIKey.ForwardKey, false)
	}
	if f := a.Forward; f != nil {
		setAside(f.Backend)
		fill(&f.Path, "/")
		fill(&f.TimeoutMs, 5000)
	}
}

func setRateLimits(list []v1alpha1.RateLimit) {
	for i := range list {
		l := &list[i]
		fill(&l.Key, v1alpha1.LimitService)
		fill(&l.PeriodSecs, 1)
		fill(&l.Scope, v1alpha1.ScopeLocal)
		fill(&l.Mode, v1alpha1.LimitEnforce)
		if l.Requests != nil {
			fill(&l.Burst, *l.Requests)
		}
	}
}

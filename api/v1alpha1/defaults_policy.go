package v1alpha1

// SetDefaults fills in what is unset.
func (f *Filter) SetDefaults() {
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
		m.Backend.SetDefaults()
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

// SetDefaults fills in what is unset.
func (a *Auth) SetDefaults() {
	if a == nil {
		return
	}
	fill(&a.Mode, AuthRequired)
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
		f.Backend.SetDefaults()
		fill(&f.Path, "/")
		fill(&f.TimeoutMs, 5000)
	}
}

func setRateLimits(list []RateLimit) {
	for i := range list {
		l := &list[i]
		fill(&l.Key, LimitService)
		fill(&l.PeriodSecs, 1)
		fill(&l.Scope, ScopeLocal)
		fill(&l.Mode, LimitEnforce)
		if l.Requests != nil {
			fill(&l.Burst, *l.Requests)
		}
	}
}

package jwt

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// maxKept is how long an outcome is believed at the most.
const maxKept = 10 * time.Minute

// realm is what a client is told that it asks for. Names of services are not everybody's business.
const realm = `Bearer realm="restricted"`

type provider struct {
	Provider
	source *source
}

// tokens is the filter.
type tokens struct {
	filter.Nop
	providers map[string]*provider // by issuer
	cookies   []string             // that may hold a token
	removed   []string             // fields that clients do not write
	cache     *cache
}

// A refusal is why a request does not pass.
type refusal struct {
	status      int
	reason      exchange.Reason
	code        string // RFC 6750 §3.1
	description string
	scope       string
}

func invalid(description string) *refusal {
	return &refusal{401, exchange.JWTInvalid, "invalid_token", description, ""}
}

// Request implements filter.Filter.
func (f *tokens) Request(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	text, cookie, refused := f.find(h)
	if refused != nil {
		return refused.answer(x)
	}
	now := time.Now().Unix()
	of := sha256.Sum256(text)
	o := f.cache.get(&of)
	if o != nil && !o.holds(now) {
		f.cache.drop(o)
		o = nil
	}
	if o == nil {
		if o, refused = f.check(text, cookie, now, x.Leave); refused != nil {
			return refused.answer(x)
		}
		o.of = of
		f.cache.put(o)
	}
	p := o.provider
	if cookie != "" && cookie != p.Cookie {
		return invalid("the token is not expected in that cookie").answer(x)
	}
	x.Identity = o.identity
	if o.lacks != "" {
		return lacking(p, o.lacks).answer(x)
	}
	if !p.Forward {
		h.DelID(exchange.Authorization)
		if p.Cookie != "" {
			removeCookie(h, p.Cookie)
		}
	}
	for _, name := range f.removed { // before ours are added, and of all providers: a client must not speak for another one
		filter.RemoveField(h, name)
	}
	x.Request.Seal(f.removed)
	for i, value := range o.fields {
		if value != "" {
			h.Add(p.Headers[i].Header, value)
		}
	}
	return filter.Continue
}

// holds reports whether what was found out is still true.
func (o *outcome) holds(now int64) bool {
	return now < o.expires && !o.key.gone.Load() && o.provider.source.current() != nil
}

// find finds the token, and the cookie that it was in.
func (f *tokens) find(h *exchange.Header) (text []byte, cookie string, refused *refusal) {
	text, found := filter.Credentials(h, "Bearer")
	switch found {
	case filter.Suitable:
		return text, "", nil
	case filter.Several:
		return nil, "", &refusal{400, exchange.BadRequest, "invalid_request", "there is more than one Authorization field", ""}
	case filter.Nothing:
		for _, name := range f.cookies {
			switch text, n := findCookie(h, name); {
			case n == 1:
				return text, name, nil
			case n > 1:
				return nil, "", invalid("the cookie is there more than once")
			}
		}
	}
	return nil, "", &refusal{status: 401, reason: exchange.JWTMissing}
}

// check finds out whether a token is to be believed, and what it says. leave is called before it waits.
func (f *tokens) check(text []byte, cookie string, now int64, leave func()) (*outcome, *refusal) {
	t, problem := parse(text)
	if problem != "" {
		return nil, invalid(problem)
	}
	p := f.providers[t.issuer]
	if p == nil {
		return nil, invalid("the issuer of the token is not known")
	}
	if cookie != "" && cookie != p.Cookie {
		return nil, invalid("the token is not expected in that cookie")
	}
	expires, notBefore, ok := t.times()
	if !ok {
		return nil, invalid("the times of the token cannot be read; it must have an exp")
	}
	leeway := int64(p.Leeway / time.Second)
	old := now >= expires+leeway
	k, refused := p.believe(&t, old, leave)
	switch {
	case refused != nil:
		return nil, refused
	case old:
		return nil, &refusal{401, exchange.JWTExpired, "invalid_token", "the token has expired", ""}
	case now+leeway < notBefore:
		return nil, &refusal{401, exchange.JWTExpired, "invalid_token", "the token is not valid yet", ""}
	case !t.audience(p.Audiences):
		return nil, invalid("the token is for another audience")
	}
	o := &outcome{
		provider: p, key: k, expires: min(expires+leeway, now+int64(maxKept/time.Second)),
		fields: make([]string, len(p.Headers)), size: 1024 + 3*len(text),
	}
	claims := t.texts()
	o.identity = exchange.Identity{User: claims["sub"], Claims: claims}
	for i, h := range p.Headers {
		if value, ok := t.field(h.Claim); ok {
			o.fields[i] = value
		}
	}
	for _, r := range p.Required {
		if !t.says(r.Claim, r.Value) {
			o.lacks = r.Claim
			break
		}
	}
	return o, nil
}

// believe finds the key that has signed the token. One that is not known may be new: the provider is asked, unless the
// token is too old to matter.
//
// leave is called before it waits.
func (p *provider) believe(t *token, old bool, leave func()) (*key, *refusal) {
	unavailable := &refusal{status: 503, reason: exchange.AuthUnavailable}
	set := p.source.current()
	if set == nil {
		leave()
		p.source.await()
		if set = p.source.current(); set == nil {
			return nil, unavailable
		}
	}
	named, keys := t.candidates(set)
	if k := t.signer(keys); k != nil {
		return k, nil
	}
	if named || old {
		return nil, invalid("the signature of the token is not valid")
	}
	leave()
	sure := p.source.renew(func(set *keySet) bool {
		named, _ := t.candidates(set)
		return named
	})
	_, keys = t.candidates(p.source.current())
	if k := t.signer(keys); k != nil {
		return k, nil
	}
	if !sure {
		return nil, unavailable
	}
	return nil, invalid("the key of the token is not known")
}

// lacking is the answer to a good token that does not say enough.
func lacking(p *provider, claim string) *refusal {
	r := &refusal{403, exchange.JWTClaims, "insufficient_scope", "a claim that is required is missing or has another value", ""}
	if claim == "scope" || claim == "scp" {
		for _, required := range p.Required {
			if required.Claim == claim {
				r.scope = required.Value
			}
		}
	}
	return r
}

// answer tells the client. A request without a token is told nothing but that one is wanted (RFC 6750 §3.1).
func (r *refusal) answer(x *exchange.Exchange) filter.Verdict {
	if r.status == 503 {
		return filter.Unavailable(x)
	}
	challenge := realm
	if r.code != "" {
		challenge += `, error="` + r.code + `", error_description="` + r.description + `"`
	}
	if r.scope != "" && filter.SafeValue(r.scope) {
		challenge += ", scope=" + filter.Quote(r.scope)
	}
	return filter.Challenge(x, r.status, r.reason, challenge)
}

// findCookie returns the value of a cookie (RFC 6265 §4.2.1), and how often it is there.
func findCookie(h *exchange.Header, name string) (value []byte, n int) {
	for i := h.Next(exchange.Cookie, 0); i >= 0; i = h.Next(exchange.Cookie, i+1) {
		_, _, list, _ := h.At(i)
		for pair := range bytes.SplitSeq(list, []byte{';'}) {
			if v, ok := valueOf(pair, name); ok {
				value = v
				n++
			}
		}
	}
	return value, n
}

// valueOf returns the value of a pair of that name.
func valueOf(pair []byte, name string) ([]byte, bool) {
	key, value, _ := bytes.Cut(pair, []byte{'='})
	if string(bytes.TrimSpace(key)) != name {
		return nil, false
	}
	value = bytes.TrimSpace(value)
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}

// removeCookie removes a cookie and leaves the others.
func removeCookie(h *exchange.Header, name string) {
	for i := range h.Len() {
		id, _, list, ok := h.At(i)
		if !ok || id != exchange.Cookie {
			continue
		}
		var rest []byte
		found := false
		for pair := range bytes.SplitSeq(list, []byte{';'}) {
			if _, same := valueOf(pair, name); same {
				found = true
				continue
			}
			if len(rest) > 0 {
				rest = append(rest, "; "...)
			}
			rest = append(rest, bytes.TrimSpace(pair)...)
		}
		if !found {
			continue
		}
		h.RemoveAt(i)
		if len(rest) > 0 {
			h.AddID(exchange.Cookie, rest)
		}
	}
}

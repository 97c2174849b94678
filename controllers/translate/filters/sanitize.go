package filters

import "github.com/pingora-proxy/pingora-proxy/dataplane/filter/sanitize"

// sanitize adds what the service removes. What it keeps is the snapshot's: no filter has run yet when the proxy drops it.
func (l *list) sanitize() {
	s := l.Service.Sanitize
	if s == nil {
		return
	}
	c := sanitize.Config{Owner: l.service(), Request: s.RequestHeaders, Response: s.ResponseHeaders, Keep: s.KeepRequestHeaders}
	if len(c.Request)+len(c.Response) > 0 {
		l.add(c, "sanitize")
	} else if err := c.Validate(); err != nil {
		l.fail("sanitize", err)
	}
}

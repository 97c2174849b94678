package proxy

import (
	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// stripRequest removes what belongs to the client's connection alone: the fields that Connection lists, then the
// hop-by-hop fields themselves (RFC 9110 §7.6.1). It runs before anything is believed or added, so that a client cannot
// have our own fields removed by naming them.
func stripRequest(r *exchange.Request) {
	h := &r.Header
	stripListed(h)
	h.Del("Proxy") // no field of HTTP, but CGI programs take it for the variable HTTP_PROXY
	for _, id := range [...]exchange.ID{
		exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TE, exchange.ProxyAuthorization,
		exchange.HTTP2Settings,
	} {
		h.DelID(id)
	}
	// Nobody may tunnel h2c: what goes through it would have no routes and no filters. With a body in front, what is to
	// come behind 101 depends on who reads how far. RFC 9110 §7.8 lets anybody ignore an Upgrade.
	r.Upgrade = r.Upgrade && r.ContentLength == 0 && !h.Token(exchange.Upgrade, "h2c")
	if r.Upgrade {
		h.AddIDString(exchange.Connection, "Upgrade")
	} else {
		h.DelID(exchange.Upgrade)
	}
	if !r.Expect {
		h.DelID(exchange.Expect)
	}
	if r.ContentLength >= 0 {
		h.DelID(exchange.Trailer)
	}
}

// stripListed removes the fields that Connection lists, but for those that a message cannot do without: framing, Host
// and credentials are not a peer's to remove.
func stripListed(h *exchange.Header) {
	for i := h.Next(exchange.Connection, 0); i >= 0; i = h.Next(exchange.Connection, i+1) {
		_, _, rest, _ := h.At(i)
		for len(rest) > 0 {
			var item []byte
			item, rest = exchange.NextToken(rest)
			switch id := exchange.Lookup(item); id {
			case exchange.Host, exchange.ContentLength, exchange.TransferEncoding, exchange.Connection, exchange.Upgrade,
				exchange.Authorization, exchange.Cookie, exchange.SetCookie, exchange.Expect, exchange.ContentType,
				exchange.ContentEncoding, exchange.Location, exchange.Date:
			case exchange.Other:
				if len(item) > 0 {
					h.DelBytes(item)
				}
			default:
				h.DelID(id)
			}
		}
	}
}

// finishResponse makes the response's fields what the client may see. The engine adds framing and Connection.
func finishResponse(x *exchange.Exchange, c *Configuration) {
	r := &x.Response
	h := &r.Header
	if !r.Local {
		stripListed(h)
		for _, id := range [...]exchange.ID{exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TE} {
			h.DelID(id)
		}
		if r.Status != 101 {
			h.DelID(exchange.Upgrade)
		}
		if c.Via {
			h.AddIDString(exchange.Via, via(r.Protocol))
		}
	} else {
		speakGRPC(x)
	}
	h.SetID(exchange.XRequestID, x.RequestID)
}

// via is the field that says which protocol a message was received with (RFC 9110 §7.6.3).
func via(received exchange.Protocol) string {
	switch received {
	case exchange.HTTP10:
		return "1.0 pingora-proxy"
	case exchange.HTTP2:
		return "2.0 pingora-proxy"
	}
	return "1.1 pingora-proxy"
}

package proxy

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// identify finds out who asks, and gives the request its id: a trusted peer's word counts, anybody else's does not. s is
// nil where the request is for no service.
func identify(x *exchange.Exchange, s *snapshot.Service) {
	h := &x.Request.Header
	peer := x.Conn.Remote.Addr().Unmap()
	var trusted []netip.Prefix
	var keep []string
	if s != nil {
		trusted, keep = s.TrustedProxies, s.KeepHeaders
	}
	x.ClientIP = peer
	x.ClientTrusted = contains(trusted, peer)
	if x.ClientTrusted {
		x.ClientIP = clientBehind(h, peer, trusted)
		if id := h.Value(exchange.XRequestID); len(id) > 0 && len(id) <= 128 {
			x.RequestID = id
			if first := h.Next(exchange.XRequestID, 0); h.Next(exchange.XRequestID, first+1) >= 0 {
				h.SetID(exchange.XRequestID, id) // the endpoint logs the one that we log
			}
			return
		}
	} else {
		dropForged(h, keep)
	}
	x.MakeRequestID()
	h.SetID(exchange.XRequestID, x.RequestID)
}

// dropForged removes what a client could speak for a proxy with, but for what the service wants all the same: what the
// proxy writes itself is not among that.
func dropForged(h *exchange.Header, keep []string) {
	for i := range h.Len() {
		id, name, _, ok := h.At(i)
		if !ok || !exchange.SpeaksForProxies(id, name) {
			continue
		}
		kept := !exchange.WritesItself(id) && slices.ContainsFunc(keep, func(k string) bool { return exchange.EqualFold(name, k) })
		if !kept {
			h.RemoveAt(i)
		}
	}
}

// clientBehind walks X-Forwarded-For from its end: the first address that is not a trusted proxy's is the client's. What
// stands in front of it was written by nobody whom we trust.
func clientBehind(h *exchange.Header, peer netip.Addr, trusted []netip.Prefix) netip.Addr {
	client := peer
	for i := h.Len() - 1; i >= 0; i-- {
		id, _, value, ok := h.At(i)
		if !ok || id != exchange.XForwardedFor {
			continue
		}
		for len(value) > 0 {
			item := value
			if comma := bytes.LastIndexByte(value, ','); comma >= 0 {
				item, value = value[comma+1:], value[:comma]
			} else {
				value = nil
			}
			addr, ok := parseNode(bytes.TrimSpace(item))
			if !ok {
				return client
			}
			client = addr
			if !contains(trusted, addr) {
				return client
			}
		}
	}
	return client
}

// parseNode reads an address as proxies write it: bare, in brackets, or with a port.
func parseNode(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > 64 {
		return netip.Addr{}, false
	}
	text := string(b)
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap(), addr.Zone() == ""
	}
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap(), withPort.Addr().Zone() == ""
	}
	if b[0] == '[' && b[len(b)-1] == ']' {
		if addr, err := netip.ParseAddr(text[1 : len(text)-1]); err == nil {
			return addr.Unmap(), addr.Zone() == ""
		}
	}
	return netip.Addr{}, false
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addForwarding tells the endpoint who asked (RFC 7239 and its predecessors). A trusted peer's fields are continued;
// anybody else's are gone already.
func addForwarding(x *exchange.Exchange, c *Configuration) {
	r := &x.Request
	h := &r.Header
	if old := h.Value(exchange.XForwardedFor); old != nil {
		joined := joinFields(x, exchange.XForwardedFor, x.Conn.RemoteIP)
		h.SetID(exchange.XForwardedFor, joined)
	} else {
		h.AddID(exchange.XForwardedFor, x.Conn.RemoteIP)
	}
	if proto := h.Value(exchange.XForwardedProto); exchange.EqualFold(proto, "https") || exchange.EqualFold(proto, "http") {
		if first := h.Next(exchange.XForwardedProto, 0); h.Next(exchange.XForwardedProto, first+1) >= 0 {
			h.SetID(exchange.XForwardedProto, proto) // one word: two would be read differently
		}
	} else {
		h.DelID(exchange.XForwardedProto)
		h.AddIDString(exchange.XForwardedProto, scheme(x))
	}
	if !h.Has(exchange.XForwardedHost) && len(r.Host) > 0 {
		h.AddID(exchange.XForwardedHost, r.Host)
	}
	if h.Has(exchange.Forwarded) {
		element := forwardedElement(x)
		if x.ClientTrusted {
			element = joinFields(x, exchange.Forwarded, element)
		}
		h.SetID(exchange.Forwarded, element)
	}
	if c.Via {
		h.AddIDString(exchange.Via, via(r.Protocol))
	}
}

func scheme(x *exchange.Exchange) string {
	if x.Conn.Secure {
		return "https"
	}
	return "http"
}

// joinFields makes one list of all fields of that ID and one more item.
func joinFields(x *exchange.Exchange, id exchange.ID, item []byte) []byte {
	h := &x.Request.Header
	size := len(item)
	for i := h.Next(id, 0); i >= 0; i = h.Next(id, i+1) {
		_, _, value, _ := h.At(i)
		size += len(value) + 2
	}
	list := x.Scratch(size)[:0]
	for i := h.Next(id, 0); i >= 0; i = h.Next(id, i+1) {
		_, _, value, _ := h.At(i)
		list = append(append(list, value...), ", "...)
	}
	return append(list, item...)
}

// forwardedElement is our element of a Forwarded field (RFC 7239 §4).
func forwardedElement(x *exchange.Exchange) []byte {
	ip, host := x.Conn.RemoteIP, x.Request.Host
	b := x.Scratch(64 + len(ip) + len(host))[:0]
	b = append(b, "for="...)
	if x.Conn.Remote.Addr().Unmap().Is4() {
		b = append(b, ip...)
	} else {
		b = append(append(append(b, `"[`...), ip...), `]"`...)
	}
	if len(host) > 0 {
		b = append(append(append(b, `;host="`...), host...), '"')
	}
	return append(append(b, ";proto="...), scheme(x)...)
}

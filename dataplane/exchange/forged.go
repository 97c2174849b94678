package exchange

// proxyFields are the fields with an ID in which proxies tell endpoints who asks for what. The proxy writes some of them
// itself, and Forwarded where the client sent one.
const proxyFields uint64 = 1<<XForwardedFor | 1<<XForwardedProto | 1<<XForwardedHost | 1<<XForwardedPort | 1<<XForwardedPrefix |
	1<<XForwardedServer | 1<<XForwardedURI | 1<<XRealIP | 1<<XOriginalURL | 1<<XRewriteURL

// proxyAliases are the fields with which other proxies, their clouds and frameworks say the same. docs/headers.md lists
// them, and a test compares.
var proxyAliases = [...]string{
	"Ali-CDN-Real-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "Client-IP", "Fastly-Client-IP", "Front-End-Https", "Proxy-Client-IP",
	"True-Client-IP", "WL-Proxy-Client-IP", "X-Appengine-User-IP", "X-Azure-ClientIP", "X-Azure-SocketIP", "X-Client-IP",
	"X-Cluster-Client-IP", "X-Envoy-External-Address", "X-Envoy-Original-Path", "X-HTTP-Host-Override", "X-Host", "X-Original-Forwarded-For",
	"X-Original-Host", "X-Original-URI", "X-Originating-IP", "X-Override-URL", "X-ProxyUser-IP", "X-Remote-Addr", "X-Remote-IP", "X-Scheme",
	"X-Url-Scheme",
}

// proxyPrefix is what the names of many more begin with, such as X-Forwarded-User and X-Forwarded-Ssl.
const proxyPrefix = "X-Forwarded"

var aliasesByLength = func() (table [maxKnownName][]string) {
	for _, name := range proxyAliases {
		table[len(name)] = append(table[len(name)], name)
	}
	return table
}()

// SpeaksForProxies reports whether a field, by its ID and its name in any case, is one in which proxies tell endpoints who
// asks for what. From a client that is no trusted proxy none of them is believed or passed on.
func SpeaksForProxies[T ~string | ~[]byte](id ID, name T) bool {
	if id != Other {
		return proxyFields>>id&1 != 0
	}
	if len(name) >= len(proxyPrefix) && lower[name[0]] == 'x' && EqualFold(name[:len(proxyPrefix)], proxyPrefix) {
		return true
	}
	if len(name) >= len(aliasesByLength) {
		return false
	}
	for _, alias := range aliasesByLength[len(name)] {
		if EqualFold(name, alias) {
			return true
		}
	}
	return false
}

// WritesItself reports whether the proxy itself tells endpoints in the field of that ID who asks for what: a client's word
// there can only be continued, and only a trusted proxy's is.
func WritesItself(id ID) bool {
	switch id {
	case XForwardedFor, XForwardedProto, XForwardedHost, Forwarded, XRequestID:
		return true
	}
	return false
}

package admin

import (
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard refuses requests that a web page could make a browser send to an address that only its user can reach.
//
// A page whose name is made to point to this address (DNS rebinding) still sends that name as Host: only IP addresses,
// localhost and the name that the address was configured with pass. Writes must besides come from no other origin, and
// carry a media type that a form cannot send.
func guard(boundName string, next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !knownHost(r.Host, boundName) {
			problem(w, http.StatusForbidden, "the Host must be an IP address, localhost, or the name in admin.bind_address")
			return
		}
		if err := crossOrigin.Check(r); err != nil {
			problem(w, http.StatusForbidden, "the request comes from another origin")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knownHost reports whether a Host field may name this server. Browsers always send one; without one it is HTTP/1.0.
func knownHost(host, boundName string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "" || strings.EqualFold(name, "localhost") || strings.EqualFold(name, boundName)
}

// onlyJSON refuses a body that is not declared to be JSON.
func onlyJSON(r *http.Request) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return errors.New("the Content-Type must be application/json")
	}
	return nil
}

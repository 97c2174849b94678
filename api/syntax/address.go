package syntax

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ParseBindAddress reads the address of a listener: an IP address (or nothing, for every address) and a port.
func ParseBindAddress(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, errors.New("must be an IP address and a port, such as `0.0.0.0:8080` or `[::1]:8080`")
	}
	n, ok := parsePort(port)
	if !ok {
		return netip.AddrPort{}, errors.New("port must be between 1 and 65535 (0 picks a free one)")
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), n), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if strings.EqualFold(host, "localhost") {
			return netip.AddrPort{}, errors.New("must be an IP address and a port; did you mean `127.0.0.1:" + port + "`?")
		}
		return netip.AddrPort{}, errors.New("must be an IP address and a port, not a name")
	}
	return netip.AddrPortFrom(ip, n), nil
}

// Overlap says whether two bound addresses want the same port of the same address. Port 0 never overlaps.
func Overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	// Every address of IPv6 takes those of IPv4 along: a listener on it serves both.
	return x == y || everyAddress(x, y) || everyAddress(y, x)
}

func everyAddress(all, one netip.Addr) bool {
	return all == netip.IPv6Unspecified() || all == netip.IPv4Unspecified() && one.Is4()
}

// SplitAddress reads the address of a backend: an IP address or a DNS name, and a port.
func SplitAddress(s string) (host string, port uint16, err error) {
	if strings.Contains(s, "://") {
		return "", 0, errors.New("must be `host:port`, without a scheme")
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", 0, errors.New("must be `host:port`, such as `10.0.0.9:3002` or `shop.internal:3002`")
	}
	port, ok := parsePort(text)
	if !ok || port == 0 {
		return "", 0, errors.New("port must be between 1 and 65535")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return "", 0, errors.New("must be the address of one machine")
		}
		return ip.Unmap().String(), port, nil
	}
	if !ValidDNSName(strings.TrimSuffix(host, ".")) {
		return "", 0, errors.New("`" + host + "` is neither an IP address nor a DNS name")
	}
	return strings.ToLower(host), port, nil
}

// ParseNetwork reads a network such as 10.0.0.0/8, or a single address.
func ParseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("must be a network such as `10.0.0.0/8`, or an IP address")
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, errors.New("has bits set beyond its length; did you mean `" + m.String() + "`?")
	}
	return p, nil
}

func parsePort(s string) (uint16, bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

// ValidDNSName follows RFC 1123, section 2.1, and lets underscores pass, which service names have.
func ValidDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if !LetterOrDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	// A last label of digits alone is a mistyped IPv4 address.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// LetterOrDigit says whether c is an ASCII letter or digit.
func LetterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// literal says whether s is an IP address, and what is wrong with how it is written: IPv6 stands in brackets.
func literal(s string) (detail string, ok bool) {
	inner, open := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	switch {
	case err != nil || open != closed:
		return "", false
	case ip.Is6() && !open:
		return "an IPv6 address must stand in brackets", true
	case ip.Is4() && open || ip.Zone() != "":
		return "must be an IP address without a zone, and brackets only around IPv6", true
	}
	return "", true
}

// CheckHost says what is wrong with a host that a service answers for.
func CheckHost(s string) string {
	if detail, ok := literal(s); ok {
		return detail
	}
	name, wildcard := strings.CutPrefix(s, "*.")
	switch {
	case s == "":
		return "must be set"
	case s == "*":
		return "must be a name; leave `hosts` unset to answer for every host"
	case strings.Contains(s, ":"):
		return "must be a name without a scheme or a port"
	case strings.Contains(name, "*"):
		return "a wildcard must be the whole first label, as in `*.example.com`"
	case !ValidDNSName(name):
		return "must be a DNS name such as `shop.example.com` or `*.shop.example.com`"
	case wildcard && !strings.Contains(name, "."):
		return "a wildcard must stand before at least two labels, as in `*.example.com`"
	}
	return ""
}

// Covers says whether a host, exact or a wildcard, lies within another.
func Covers(outer, inner string) bool {
	outer, inner = strings.ToLower(outer), strings.ToLower(inner)
	if outer == inner {
		return true
	}
	suffix, ok := strings.CutPrefix(outer, "*")
	return ok && strings.HasSuffix(strings.TrimPrefix(inner, "*"), suffix) && len(strings.TrimPrefix(inner, "*")) > len(suffix)
}

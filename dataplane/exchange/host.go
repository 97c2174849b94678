package exchange

import "net/netip"

// maxHost is the most bytes that a domain name has as text (RFC 1035 §2.3.4).
const maxHost = 253

// ValidHost reports whether host is a name or an address without a port: letters, digits, '-', '_' and single dots, or
// IPv6 in brackets. Names in other scripts are written in ASCII (xn--…).
func ValidHost[T ~string | ~[]byte](host T) bool {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		addr, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		return err == nil && addr.Is6() && addr.Zone() == ""
	}
	if len(host) == 0 || len(host) > maxHost {
		return false
	}
	last := byte('.')
	for i := 0; i < len(host); i++ {
		switch c := host[i]; {
		case 'a' <= lower[c] && lower[c] <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && last != '.':
		default:
			return false
		}
		last = host[i]
	}
	return true
}

// SplitPort cuts the port off an authority. port is empty where there is none, or nothing behind the colon.
func SplitPort[T ~string | ~[]byte](authority T) (host, port T) {
	for i := len(authority) - 1; i >= 0; i-- {
		switch c := authority[i]; {
		case c == ':':
			return authority[:i], authority[i+1:]
		case c < '0' || c > '9':
			return authority, authority[len(authority):]
		}
	}
	return authority, authority[len(authority):]
}

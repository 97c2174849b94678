package codec

// validAuthority reports whether b is a host, or a host and a port, as Host and request targets name them: a DNS name or
// an IPv4 address of at most 255 bytes, or an IPv6 address in brackets; the port, where there is a colon, from 1 to
// 65535. No user, no empty label but the root's, no percent-encoding, no zone.
func validAuthority(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := 1
		for end < len(b) && b[end] != ']' {
			end++
		}
		return end < len(b) && validIPv6(b[1:end]) && validPort(b[end+1:])
	}
	p, last := 0, byte('.')
	for p < len(b) && classes[b[p]]&hostByte != 0 {
		if b[p] == '.' && last == '.' {
			return false
		}
		last = b[p]
		p++
	}
	return p > 0 && p <= 255 && validPort(b[p:])
}

// validPort reports whether b is empty, or a colon and a port.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if len(b) < 2 || len(b) > 6 || b[0] != ':' || b[1] == '0' {
		return false
	}
	port := 0
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535
}

// validIPv6 reports whether b is an IPv6 address in text (RFC 4291 §2.2). netip.ParseAddr would have to be given a
// string, and its errors make that escape to the heap.
func validIPv6(b []byte) bool {
	groups, compressed := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		compressed, b = true, b[2:]
		if len(b) == 0 {
			return true
		}
	}
	for {
		digits := 0
		for digits < len(b) && classes[b[digits]]&hexDigit != 0 {
			digits++
		}
		if digits < len(b) && b[digits] == '.' {
			if groups += 2; !validIPv4(b) {
				return false
			}
			break
		}
		if digits == 0 || digits > 4 {
			return false
		}
		groups, b = groups+1, b[digits:]
		if len(b) == 0 {
			break
		}
		if len(b) < 2 || b[0] != ':' {
			return false
		}
		if b = b[1:]; b[0] == ':' {
			if compressed {
				return false
			}
			if compressed, b = true, b[1:]; len(b) == 0 {
				break
			}
		}
	}
	if compressed {
		return groups < 8
	}
	return groups == 8
}

// validIPv4 reports whether b is four decimal numbers up to 255, without leading zeros.
func validIPv4(b []byte) bool {
	for part := range 4 {
		n, digits := 0, 0
		for digits < len(b) && digits < 3 && '0' <= b[digits] && b[digits] <= '9' {
			n = n*10 + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return false
		}
		if b = b[digits:]; part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

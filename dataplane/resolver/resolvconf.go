package resolver

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds of resolv.conf(5): more servers than MAXNS are not asked, larger options are cut.
const (
	maxServers  = 3
	maxSearch   = 32
	maxNdots    = 15
	maxTimeout  = 30
	maxAttempts = 5
)

// resolvConf is what resolv.conf(5) says: nameserver, search, domain, and the options ndots, timeout, attempts and
// rotate. Other keywords and options do not concern a stub resolver of this kind.
type resolvConf struct {
	servers  []netip.AddrPort
	search   []string // without trailing dots
	ndots    int
	timeout  time.Duration
	attempts int
	rotate   bool
}

// parseResolvConf never fails: what is missing or not understood keeps its default.
func parseResolvConf(data []byte) resolvConf {
	conf := resolvConf{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	searchGiven := false
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch values := fields[1:]; fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(values[0]); err == nil && len(conf.servers) < maxServers {
				conf.servers = append(conf.servers, netip.AddrPortFrom(addr.Unmap(), 53))
			}
		case "domain":
			conf.search, searchGiven = searchList(values[:1]), true
		case "search":
			conf.search, searchGiven = searchList(values), true
		case "options":
			conf.options(values)
		}
	}
	if len(conf.servers) == 0 {
		conf.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("[::1]:53")}
	}
	if !searchGiven {
		// The default is the domain of this host's name.
		if host, err := os.Hostname(); err == nil {
			_, domain, _ := strings.Cut(host, ".")
			conf.search = searchList([]string{domain})
		}
	}
	return conf
}

func (c *resolvConf) options(options []string) {
	for _, option := range options {
		key, value, _ := strings.Cut(option, ":")
		n, err := strconv.Atoi(value)
		isNumber := err == nil && n >= 0
		switch {
		case key == "ndots" && isNumber:
			c.ndots = min(n, maxNdots)
		case key == "timeout" && isNumber:
			c.timeout = time.Duration(min(max(n, 1), maxTimeout)) * time.Second
		case key == "attempts" && isNumber:
			c.attempts = min(max(n, 1), maxAttempts)
		case option == "rotate":
			c.rotate = true
		}
	}
}

// searchList keeps the valid domains; the root (".") is what a name without a suffix is tried in anyway.
func searchList(domains []string) []string {
	var list []string
	for _, domain := range domains {
		if name, err := canonicalName(domain); err == nil && len(list) < maxSearch {
			list = append(list, strings.TrimSuffix(name, "."))
		}
	}
	return list
}

// candidates are the fully qualified names, with trailing dots, to try in turn for a canonical name: with at least
// ndots dots the name itself comes first, else last; a trailing dot forbids the search list.
func (c *resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	list := make([]string, 0, len(c.search)+1)
	for _, domain := range c.search {
		if len(name)+1+len(domain) <= 253 {
			list = append(list, name+"."+domain+".")
		}
	}
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{name + "."}, list...)
	}
	return append(list, name+".")
}

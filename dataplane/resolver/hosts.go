package resolver

import (
	"net/netip"
	"strings"
)

// hostTable is a hosts(5) file: names in lower case, without a trailing dot.
type hostTable map[string][]netip.Addr

// parseHosts reads what it understands: a line is an address and its names. Lines that are not are skipped, as every
// reader of this file does.
func parseHosts(data []byte) hostTable {
	table := make(hostTable)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			table[name] = append(table[name], addr.Unmap())
		}
	}
	return table
}

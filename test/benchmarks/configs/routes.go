package configs

import (
	"fmt"
	"strings"
)

// ManyRoutes are routes that the request of the benchmark matches none of.
func ManyRoutes(n int) string {
	var b strings.Builder
	for i := range n {
		kind := []string{"Exact", "Prefix"}[i%2]
		fmt.Fprintf(&b, "      - {name: r%d, matches: [{path: {type: %s, value: /service/%d/path}}]}\n", i, kind, i)
	}
	return strings.TrimSpace(b.String())
}

// ManyRoutesElsewhere is a service on the same address with routes of another host: one has 512 at most.
func ManyRoutesElsewhere(n int) string {
	return "- name: elsewhere\n    bind_address: '{{.Listen}}'\n    hosts: [elsewhere.example]\n    upstreams: ['127.0.0.1:9']\n" +
		"    health_check: {type: Disabled}\n    routes:\n      " + ManyRoutes(n)
}

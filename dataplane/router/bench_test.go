package router

import (
	"fmt"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// BenchmarkLookup looks 16 different requests up in tables of n routes: n services with a host each, or one service with
// n prefixes, or n exact paths.
func BenchmarkLookup(b *testing.B) {
	const asked = 16
	for _, kind := range []string{"host", "wildcard", "prefix", "exact"} {
		for _, n := range []int{10, 1000, 10000} {
			l := &snapshot.Listener{Address: "127.0.0.1:80"}
			shared := &snapshot.Service{Name: "shared", Hosts: []string{"www.example.com"}}
			if kind == "prefix" || kind == "exact" {
				l.Services = append(l.Services, shared)
			}
			var requests []*exchange.Exchange
			for i := range n {
				s, match := shared, snapshot.Match{}
				line := fmt.Sprintf("GET www.example.com/team-%05d/api", i)
				switch kind {
				case "host":
					s, match = &snapshot.Service{Name: fmt.Sprint(i), Hosts: []string{fmt.Sprintf("shop-%05d.example.com", i)}}, prefix("/api")
					line = fmt.Sprintf("GET shop-%05d.example.com/api/v1/users/42", i)
				case "wildcard":
					s, match = &snapshot.Service{Name: fmt.Sprint(i), Hosts: []string{fmt.Sprintf("*.shop-%05d.example.com", i)}}, prefix("/api")
					line = fmt.Sprintf("GET www.shop-%05d.example.com/api/v1/users/42", i)
				case "prefix":
					match = prefix(fmt.Sprintf("/team-%05d/api", i))
					line += "/v1/users/42"
				case "exact":
					match = exact(fmt.Sprintf("/team-%05d/api", i))
				}
				if s != shared {
					l.Services = append(l.Services, s)
				}
				l.Routes = append(l.Routes, &snapshot.Route{Service: s, Name: fmt.Sprint(i), Matches: []snapshot.Match{match}})
				if i%max(1, n/asked) == 0 && len(requests) < asked {
					requests = append(requests, request(line))
				}
			}
			compiled := table(b, l)
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if compiled.Lookup(requests[i]).Route == nil {
						b.Fatal("no route")
					}
					if i++; i == len(requests) {
						i = 0
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	l := one(&snapshot.Service{Name: "s", Hosts: []string{"www.example.com"}})
	for i := range 10000 {
		l.Routes = append(l.Routes, &snapshot.Route{Service: l.Services[0], Name: fmt.Sprint(i), Matches: []snapshot.Match{prefix(fmt.Sprintf("/team-%d", i))}})
	}
	b.ReportAllocs()
	for b.Loop() {
		table(b, l)
	}
}

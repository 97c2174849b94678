// Package resolver turns DNS names into addresses and keeps them fresh: it knows the TTL of every answer, which the
// resolver of package net does not tell, and asks again when it ends.
//
// It is a stub resolver: it asks the recursive name servers of resolv.conf(5) for A and AAAA records (RFC 1035,
// RFC 3596, EDNS0 of RFC 6891), honours its search list and options, and the hosts file before it. Both files are read
// again when they change. Nothing is cached for [Resolver.Lookup]; [Resolver.Watch] holds the last good answer.
//
// Left to others: which addresses may be dialled (an answer is an outsider's word; the policy is applied at every
// dial), their health, how to balance over them, SRV records, DNSSEC and DNS over TLS.
package resolver

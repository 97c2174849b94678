// Package faulty is what stands around a proxy and does not always work: name servers that fail, a Redis that goes and comes back, and
// links (toxiproxy) that
// are slow or break.
package faulty

// Package faulty is what stands around a proxy and does not always work: name servers that fail, and links (toxiproxy) that
// are slow or break.
package faulty

// Package ledger collects, from upstreams in a cluster, which requests they have received, so that one that was
// forwarded twice shows, whatever became of the pods. The Writer is the upstreams' end, the Book the test's.
package ledger

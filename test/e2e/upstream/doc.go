// Command upstream is what the proxy forwards to in test/e2e: it answers every request with its id, and tells a ledger
// outside the cluster of each one as soon as it has its head, so that a request that comes twice is seen wherever it
// comes. It leaves in good order, as a Deployment's pods should.
package main

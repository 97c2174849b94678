// Package replica is how the replicas of one class know of each other, through Leases in the controller's own namespace:
// Lease tells the others which configuration this replica serves, Members lists what the others tell, and Election chooses
// the one of them that writes to the cluster.
//
// All three run on client-go alone and go on for ever: an API server that is gone ends leadership and what is known of
// the others, and nothing else. What a leader writes, and what follows from the members' versions, is the caller's. Give
// them a client of their own: behind a busy client's rate limit a renewal comes too late.
package replica

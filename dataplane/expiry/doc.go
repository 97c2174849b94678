// Package expiry warns of certificates that end soon, in the log, once a day: those that clients and endpoints are shown, and
// those that theirs are verified with. The metrics of them are the facade's.
package expiry

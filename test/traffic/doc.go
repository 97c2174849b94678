// Package traffic sends requests from many clients at once and counts strictly what becomes of them: answered, lost, on
// which kind of connection. What origins see twice is counted by harness.Ledger.
package traffic

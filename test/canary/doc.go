// Package canary finds secrets that a test has given away wherever they turn up, in whatever form they are written there.
package canary

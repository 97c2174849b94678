// Package report writes what was measured into documents: each kind of figures between markers of its own, so that one
// program does not touch what another one has written, and says where it was measured.
package report

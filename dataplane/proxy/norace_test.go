//go:build !race

// The race detector allocates. 'make test' runs every package that has such a file without it, too.
package proxy

import "testing"

// TestFindAllocatesNothing covers what is done for a plain request before an endpoint is asked.
func TestFindAllocatesNothing(t *testing.T) {
	r := newRig(t, refuse, nil, nil, "127.0.0.1:1")
	x, d := newExchange("192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() { findOnce(t, r, x, d) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

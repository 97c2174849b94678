//go:build !race

// The race detector has sync.Pool drop things at random. 'make test' runs every package that has such a file without it, too.
package accesslog

import (
	"path/filepath"
	"testing"
)

func TestLogAllocatesNothing(t *testing.T) {
	l, _, _ := newLog(t, Config{Path: filepath.Join(t.TempDir(), "access.log"), SamplePercent: 100})
	x := served()
	for range 2000 {
		l.Log(x, "9f3c2a51")
	}
	if n := testing.AllocsPerRun(2000, func() { l.Log(x, "9f3c2a51") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

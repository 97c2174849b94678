package benchmarks

import (
	"strings"
	"testing"
	"time"
)

func TestWrkArgs(t *testing.T) {
	got := strings.Join(wrkArgs("s.lua", Row{Path: "/tiny", Clients: 400}, 5*time.Second, "127.0.0.1:1"), " ")
	if want := "-t1 -c400 -d5s --timeout 5s -s s.lua http://127.0.0.1:1/tiny"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	fresh := strings.Join(wrkArgs("s.lua", Row{Path: "/tiny", Clients: 64, Fresh: true, Direct: true}, time.Second, "127.0.0.1:1"), " ")
	if want := "-t2 -c64 -d1s --timeout 5s -s s.lua -H Connection: close http://127.0.0.1:1/tiny"; fresh != want {
		t.Errorf("got %s, want %s", fresh, want)
	}
}

package dataplane

import (
	"runtime"
	"testing"
)

// TestIdleStackIsSmall: a connection over TLS waits with so little on its stack that the stack becomes small again, which it
// does not while more than a quarter of it is in use. It has grown to 8 KiB, for a handshake or for a request.
func TestIdleStackIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("frames are larger with the race detector")
	}
	const clients = 300
	d := newPlane(t)
	apply(t, d, secured(rawOrigin(t, okAnswer), site{"one", []string{"one.example"}, single(issue(t, 1, "one.example"))}))
	stacks := func() uint64 {
		for range 4 { // each makes a stack half as large, at most
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.StackInuse
	}
	before := stacks()
	for range clients {
		conn, _, err := handshake(t, d, nil, "one.example")
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := ask(t, conn, "one.example"); status != 200 {
			t.Fatal(status)
		}
	}
	if each := (float64(stacks()) - float64(before)) / clients; each > 6<<10 {
		t.Errorf("%.0f bytes of stack for each idle connection", each)
	}
}

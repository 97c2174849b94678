//go:build !race

// What the race detector would be measured with: it empties pools at random, and frames are larger with it. 'make test' runs every
// package that has such a file without it, too.
package dataplane

import (
	"net"
	"runtime"
	"testing"
)

// TestPlainPathAllocatesNothing holds the engine to its promise: a small exchange on kept-alive connections allocates
// nothing, from reading the head to counting the request.
func TestPlainPathAllocatesNothing(t *testing.T) {
	d := newPlane(t)
	apply(t, d, configuration("127.0.0.1:0", rawOrigin(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")))
	nc, err := net.Dial("tcp", d.Bound("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, request := range map[string]string{
		"GET":  "GET /path?query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n",
		"POST": "POST /path HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nhello",
	} {
		out, in := []byte(request), make([]byte, 4096)
		round := func() {
			if _, err := nc.Write(out); err != nil {
				t.Fatal(err)
			}
			n, err := nc.Read(in)
			if err != nil || n < 12 || string(in[9:12]) != "200" {
				t.Fatalf("%v: %q", err, in[:n])
			}
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(2000, round); n != 0 {
			t.Errorf("%s: %v allocations an exchange", name, n)
		}
	}
}

// TestIdleStackIsSmall: a connection over TLS waits with so little on its stack that the stack becomes small again, which it
// does not while more than a quarter of it is in use. It has grown to 8 KiB, for a handshake or for a request.
func TestIdleStackIsSmall(t *testing.T) {
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

package exchange

import (
	"sync"
	"testing"
)

// Streams of one connection that ask for several services at once: the connection counts once, where it was last.
func TestSeatIsTakenByManyStreams(t *testing.T) {
	var seats [4]Seat
	var services [3]Occupancy
	var wg sync.WaitGroup
	for i := range seats {
		for j := range services {
			wg.Go(func() {
				for range 1000 {
					seats[i].Take(&services[j], 1000)
				}
			})
		}
	}
	wg.Wait()
	sum := int64(0)
	for j := range services {
		sum += services[j].Connections.Load()
	}
	if sum != int64(len(seats)) {
		t.Errorf("%d connections count %d times", len(seats), sum)
	}
	for i := range seats {
		seats[i].Leave()
	}
	for j := range services {
		if n := services[j].Connections.Load(); n != 0 {
			t.Errorf("service %d has %d connections in the end", j, n)
		}
	}
}

// Two streams have both found that the connection counts elsewhere, and have both counted it.
func TestSeatIsTakenTwiceAtOnce(t *testing.T) {
	var s Seat
	var o Occupancy
	for range 2 {
		o.Connections.Add(1)
		s.leave(&o)
	}
	if n := o.Connections.Load(); n != 1 {
		t.Errorf("the connection counts %d times", n)
	}
}

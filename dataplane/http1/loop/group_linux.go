package loop

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how often the Loops are looked at: one that has been in the same turn since the last look goes on elsewhere.
const patience = 50 * time.Millisecond

// A Group is several Loops, one for each processor that there is to be used.
type Group struct {
	loops []*Loop
	next  atomic.Uint32
}

// NewGroup makes n Loops, which serve once Run is called.
func NewGroup(n int) (*Group, error) {
	g := &Group{}
	for i := range n {
		l, err := newLoop()
		if err != nil {
			g.abandon()
			return nil, err
		}
		l.Index = i
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// Len is how many Loops there are.
func (g *Group) Len() int {
	if g == nil {
		return 0
	}
	return len(g.loops)
}

// Next returns the Loops in turn.
func (g *Group) Next() *Loop { return g.loops[int(g.next.Add(1))%len(g.loops)] }

// Run serves until ctx ends, by when the Sockets are closed.
func (g *Group) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, l := range g.loops {
		running.Go(l.run)
	}
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	seen := make([]uint64, len(g.loops))
	for {
		select {
		case <-ctx.Done():
			for _, l := range g.loops {
				l.close()
			}
			running.Wait()
			return
		case <-ticker.C:
			for i, l := range g.loops {
				seen[i] = l.depose(seen[i])
			}
		}
	}
}

func (g *Group) abandon() {
	for _, l := range g.loops {
		_ = l.file.Close()
		_ = unix.Close(l.bell)
	}
}

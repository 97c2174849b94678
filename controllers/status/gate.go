package status

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A gate holds all writes back for longer and longer while the API server fails, so that it is asked by a few of them only
// and has peace to come back.
type gate struct {
	least, most time.Duration

	mu    sync.Mutex
	delay time.Duration // of the last failure; 0: none
	until time.Time
}

func newGate(retry [2]time.Duration) gate { return gate{least: retry[0], most: retry[1]} }

// wait is how long a write has to wait.
func (g *gate) wait(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, g.until.Sub(now))
}

// failed closes the gate after a write that began at some time, and says whether it was the first one to notice: those that
// began before the gate was closed, tell nothing new.
func (g *gate) failed(began, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if began.Before(g.until) {
		return false
	}
	g.delay = min(max(g.least, 2*g.delay), g.most)
	g.until = now.Add(g.delay/2 + rand.N(g.delay/2+1))
	return true
}

func (g *gate) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay, g.until = 0, time.Time{}
}

package breaker

import (
	"slices"
	"time"
)

// take takes a place, if there is one.
func (b *Breaker) take(s *Settings) bool {
	for {
		n := b.running.Load()
		if s.MaxRunning > 0 && n >= int64(s.MaxRunning) {
			return false
		}
		if b.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Full reports whether who enters now is likely to wait for a place.
func (b *Breaker) Full() bool {
	s := b.settings.Load()
	return s != nil && s.MaxRunning > 0 && (b.waiting.Load() > 0 || b.running.Load() >= int64(s.MaxRunning))
}

// queueUp waits for a place, behind those that wait already.
func (b *Breaker) queueUp(s *Settings, patience time.Duration) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.take(s) { // it was left before anybody could know that we wait
		b.mu.Unlock()
		return true
	}
	if patience <= 0 || len(b.queue) >= s.MaxPending {
		b.mu.Unlock()
		return false
	}
	turn := make(chan struct{}, 1)
	b.queue = append(b.queue, turn)
	b.waiting.Store(int64(len(b.queue)))
	b.wake() // who left a place before the line above saw nobody waiting
	b.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-turn:
		return true
	case <-timer.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.queue, turn)
	if at < 0 {
		return true // the turn came at the last moment
	}
	b.queue = slices.Delete(b.queue, at, at+1)
	b.waiting.Store(int64(len(b.queue)))
	return false
}

// leave gives a place back.
func (b *Breaker) leave() {
	b.running.Add(-1)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.wake()
	b.mu.Unlock()
}

// wake gives places to those that wait, the first first. The caller holds b.mu.
func (b *Breaker) wake() {
	s := b.settings.Load()
	if s == nil {
		s = &Settings{} // nobody needs to wait any more
	}
	n := 0
	for n < len(b.queue) && b.take(s) {
		b.queue[n] <- struct{}{}
		n++
	}
	b.queue = slices.Delete(b.queue, 0, n)
	b.waiting.Store(int64(len(b.queue)))
}

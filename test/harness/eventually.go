package harness

import (
	"testing"
	"time"
)

const (
	// Patience bounds every wait. It is far longer than anything takes, because the machine may be busy: no test asserts
	// that something is fast.
	Patience = 20 * time.Second
	// pause is the time between the first two looks at a condition that gives no notice, and longest what it grows to: each
	// look costs the proxy a request, and many tests look at a time.
	pause   = 5 * time.Millisecond
	longest = 50 * time.Millisecond
)

// Eventually asks until the condition holds, and fails the test when it does not in time. what names the condition.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !within(Patience, condition) {
		t.Fatalf("not in %v: %s", Patience, what)
	}
}

// within asks until the condition holds or the time is over.
func within(limit time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(limit)
	for next := pause; !condition(); next = min(next+next/2, longest) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(next)
	}
	return true
}

// Breathe takes as long as Eventually takes between its first two looks: for a peer that shall be slow, not for waiting.
func Breathe() { time.Sleep(pause) }

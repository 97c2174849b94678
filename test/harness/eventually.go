package harness

import (
	"testing"
	"time"
)

const (
	// Patience bounds every wait. It is far longer than anything takes, because the machine may be busy: no test asserts
	// that something is fast.
	Patience = 20 * time.Second
	// pause is the time between two looks at a condition that gives no notice.
	pause = 5 * time.Millisecond
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
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Breathe takes as long as Eventually takes between two looks: for a peer that shall be slow, not for waiting.
func Breathe() { time.Sleep(pause) }

package kube

import (
	"testing"
	"time"
)

const (
	// Patience bounds every wait of this package. It is far longer than anything takes, because the machine may be busy.
	Patience = time.Minute
	// pause is the time between the first two looks at a condition that gives no notice, and longest what it grows to: each
	// look costs the API server a request, and many tests look at a time.
	pause   = 10 * time.Millisecond
	longest = 100 * time.Millisecond
)

// Eventually asks until the condition has no complaint, and fails the test with the last one when it still has after the
// time.
func Eventually(t testing.TB, limit time.Duration, condition func() error) {
	t.Helper()
	if err := within(limit, condition); err != nil {
		t.Fatalf("not in %v: %v", limit, err)
	}
}

// within asks until the condition has no complaint or the time is over.
func within(limit time.Duration, condition func() error) error {
	deadline := time.Now().Add(limit)
	for next := pause; ; next = min(next+next/2, longest) {
		err := condition()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(next)
	}
}

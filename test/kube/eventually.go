package kube

import (
	"testing"
	"time"
)

const (
	// Patience bounds every wait of this package. It is far longer than anything takes, because the machine may be busy.
	Patience = time.Minute
	// pause is the time between two looks at a condition that gives no notice.
	pause = 10 * time.Millisecond
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
	for {
		err := condition()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

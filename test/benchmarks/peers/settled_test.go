package peers

import (
	"errors"
	"testing"
	"time"
)

func TestSettled(t *testing.T) {
	sizes := []int64{100 << 20, 90 << 20, 50 << 20}
	calls := 0
	got, err := Settled(t.Context(), time.Millisecond, func() (int64, error) {
		calls++
		return sizes[min(calls, len(sizes))-1], nil
	})
	if err != nil || got != 50<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	failing := errors.New("no such process")
	if _, err := Settled(t.Context(), time.Millisecond, func() (int64, error) { return 0, failing }); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
}

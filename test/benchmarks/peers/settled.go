package peers

import (
	"context"
	"time"
)

const (
	// settleBytes is what a size may change by and still count as the same.
	settleBytes = 64 << 10
	// settleLimit is how long is waited for a size that does not change. Go gives memory back to the system slowly.
	settleLimit = 20 * time.Second
)

// Settled polls a size in bytes until it has stayed the same for quiet, or settleLimit is over.
func Settled(ctx context.Context, quiet time.Duration, size func() (int64, error)) (int64, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	var base int64
	since := start
	for {
		n, err := size()
		if err != nil {
			return 0, err
		}
		diff := n - base
		switch {
		case time.Since(start) >= settleLimit:
			return n, nil
		case diff > settleBytes || diff < -settleBytes:
			base, since = n, time.Now()
		case time.Since(since) >= quiet:
			return n, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

package health

import (
	"context"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// awaitInterval is how often Await looks.
const awaitInterval = 5 * time.Millisecond

// Await returns when every endpoint that is to be checked was checked once, or the patience is over; without any at once.
func Await(ctx context.Context, clusters *upstream.Clusters, patience time.Duration) {
	if patience <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(awaitInterval)
	defer look.Stop()
	for unchecked(clusters) {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// unchecked says whether there are endpoints whose first check is not over.
func unchecked(clusters *upstream.Clusters) bool {
	for _, c := range clusters.Status() {
		if c.Check == upstream.CheckDisabled {
			continue
		}
		for _, e := range c.Endpoints {
			if e.LastCheck.IsZero() {
				return true
			}
		}
	}
	return false
}

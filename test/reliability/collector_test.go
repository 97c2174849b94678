package reliability

import (
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A collector of traces takes what it gets over OTLP/HTTP and forgets it, or leaves it without an answer.
type collector struct {
	address string
	answers atomic.Bool
	batches atomic.Int64
	server  *http.Server
	served  chan struct{}
}

// newCollector finds an address, which stays.
func newCollector(t *testing.T) *collector {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	c := &collector{address: free.Addr().String()}
	t.Cleanup(c.close)
	return c
}

func (c *collector) open(t *testing.T) {
	t.Helper()
	var listener net.Listener
	harness.Eventually(t, "the collector's address is free", func() bool {
		var err error
		listener, err = net.Listen("tcp", c.address) //nolint:noctx // local
		return err == nil
	})
	c.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for !c.answers.Load() && r.Context().Err() == nil {
			harness.Breathe()
		}
		c.batches.Add(1)
	})}
	c.served = make(chan struct{})
	go func(server *http.Server, served chan struct{}) {
		defer close(served)
		_ = server.Serve(listener)
	}(c.server, c.served)
}

func (c *collector) close() {
	if c.server != nil {
		_ = c.server.Close()
		<-c.served
		c.server = nil
	}
}

// durations are how long something took, time after time.
type durations []time.Duration

// percentile returns the one that p of a hundred do not exceed.
func (d durations) percentile(p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

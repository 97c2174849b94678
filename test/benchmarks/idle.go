package benchmarks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/load"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

const (
	// idleRounds is enough for memory, which does not drift as time does.
	idleRounds = 3
	// settleQuiet is how long the memory must stay as it is to count as settled.
	settleQuiet = 3 * time.Second
)

// idle measures the memory of idle connections. Each measurement starts a fresh process.
func (b *Bench) idle(ctx context.Context, row Row, originAddr string) Result {
	res := Result{Row: row}
	var over *tls.Config
	if row.TLS {
		over = &tls.Config{RootCAs: b.secrets.Roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
	}
	b.rounds(ctx, &res, min(b.opt.Rounds, idleRounds), func(name string) (s Sample, err error) {
		c, err := b.start(ctx, name, row, originAddr)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		return measureIdle(ctx, row, c, over)
	})
	return res
}

func measureIdle(ctx context.Context, row Row, c *contender, over *tls.Config) (Sample, error) {
	// One client first, so that what the first request allocates does not count as a connection's.
	first, err := load.OpenClients(ctx, c.addr, row.Path, 1, over)
	if err != nil {
		return Sample{}, err
	}
	first.Close()
	before, err := peers.Settled(ctx, settleQuiet, c.Resident)
	if err != nil {
		return Sample{}, err
	}
	clients, err := load.OpenClients(ctx, c.addr, row.Path, row.Idle, over)
	if err != nil {
		return Sample{}, err
	}
	defer clients.Close()
	after, err := peers.Settled(ctx, settleQuiet, c.Resident)
	if err != nil {
		return Sample{}, err
	}
	// Whoever closes idle connections saves memory without holding them.
	if err := clients.Ask(row.Path); err != nil {
		return Sample{}, fmt.Errorf("asking again on the idle connections: %w", err)
	}
	return Sample{Resident: after, PerConn: float64(after-before) / float64(row.Idle)}, nil
}

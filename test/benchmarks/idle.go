package benchmarks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// idleRounds is enough for memory, which does not drift as time does.
	idleRounds = 3
	// idleOpeners is how many connections are opened at once.
	idleOpeners = 16
	// perSource is the number of connections from one source address, well below the number of ephemeral ports.
	perSource = 4000
	// settleQuiet is how long the memory must not change by more than settleBytes to count as settled, and settleLimit how
	// long that is waited for. Go gives memory back to the system slowly.
	settleQuiet = 3 * time.Second
	settleBytes = 64 << 10
	settleLimit = 20 * time.Second
	// exchangeTimeout bounds one request of an idle client.
	exchangeTimeout = 10 * time.Second
)

// idle measures the memory of idle connections. Each measurement starts a fresh process.
func (b *Bench) idle(ctx context.Context, row Row, originAddr string) Result {
	res := Result{Row: row}
	b.rounds(ctx, &res, min(b.opt.Rounds, idleRounds), func(name string) (s Sample, err error) {
		c, err := b.start(ctx, name, row, originAddr)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		return measureIdle(ctx, row, c)
	})
	return res
}

func measureIdle(ctx context.Context, row Row, c *contender) (Sample, error) {
	// One client first, so that what the first request allocates does not count as a connection's.
	first, err := openClients(ctx, c.addr, row.Path, 1)
	if err != nil {
		return Sample{}, err
	}
	first.close()
	before, err := settled(ctx, settleQuiet, c.Resident)
	if err != nil {
		return Sample{}, err
	}
	clients, err := openClients(ctx, c.addr, row.Path, row.Idle)
	if err != nil {
		return Sample{}, err
	}
	defer clients.close()
	after, err := settled(ctx, settleQuiet, c.Resident)
	if err != nil {
		return Sample{}, err
	}
	// Whoever closes idle connections saves memory without holding them.
	if err := clients.ask(row.Path); err != nil {
		return Sample{}, fmt.Errorf("asking again on the idle connections: %w", err)
	}
	return Sample{Resident: after, PerConn: float64(after-before) / float64(row.Idle)}, nil
}

// settled polls a size in bytes until it has stayed the same for quiet, or settleLimit is over.
func settled(ctx context.Context, quiet time.Duration, size func() (int64, error)) (int64, error) {
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

// clients are open keep-alive connections.
type clients []*net.TCPConn

// openClients opens n connections to addr and makes one request on each.
func openClients(ctx context.Context, addr, path string, n int) (clients, error) {
	conns := make(clients, n)
	err := each(n, func(i int) error {
		// Every source address has its own ephemeral ports; the whole of 127/8 is the loopback.
		dialer := net.Dialer{Timeout: exchangeTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/perSource))}}
		conn, err := dialer.DialContext(ctx, "tcp4", addr)
		if err != nil {
			return err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return errors.Join(fmt.Errorf("unexpected connection type %T", conn), conn.Close())
		}
		conns[i] = tcp
		return exchange(tcp, path)
	})
	if err != nil {
		conns.close()
		return nil, err
	}
	return conns, nil
}

// ask makes one more request on each connection.
func (c clients) ask(path string) error {
	return each(len(c), func(i int) error { return exchange(c[i], path) })
}

// close resets the connections, which leaves no port in TIME_WAIT for the next measurement.
func (c clients) close() {
	for _, conn := range c {
		if conn != nil {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
	}
}

// exchange makes one request and reads its answer to the end.
func exchange(conn net.Conn, path string) error {
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: bench.test\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	err = errors.Join(err, res.Body.Close())
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s: %s", path, res.Status)
	case res.Close:
		return fmt.Errorf("GET %s: the answer closes the connection", path)
	}
	return nil
}

// each calls f for 0 to n-1, idleOpeners at once, and returns the first error of each of them.
func each(n int, f func(i int) error) error {
	errs := make([]error, idleOpeners)
	var wg sync.WaitGroup
	for w := range idleOpeners {
		wg.Go(func() {
			for i := w; i < n; i += idleOpeners {
				if errs[w] = f(i); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// openers is how many connections are opened at once.
	openers = 16
	// perSource is the number of connections from one source address, well below the number of ephemeral ports.
	perSource = 4000
	// exchangeTimeout bounds one request of a client, and its handshake.
	exchangeTimeout = 10 * time.Second
)

// Clients are open keep-alive connections.
type Clients []client

// A client speaks through conn, which is tcp itself or TLS over it.
type client struct {
	tcp  *net.TCPConn
	conn net.Conn
}

// OpenClients opens n connections to addr, over TLS when there is a configuration for it, and makes one request on each.
// The caller closes them.
func OpenClients(ctx context.Context, addr, path string, n int, over *tls.Config) (Clients, error) {
	clients := make(Clients, n)
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
		if over != nil {
			conn = tls.Client(tcp, over) // the first request makes the handshake
		}
		clients[i] = client{tcp: tcp, conn: conn}
		return exchange(conn, path)
	})
	if err != nil {
		clients.Close()
		return nil, err
	}
	return clients, nil
}

// Ask makes one more request on each connection.
func (c Clients) Ask(path string) error {
	return each(len(c), func(i int) error { return exchange(c[i].conn, path) })
}

// Close resets the connections, which leaves no port in TIME_WAIT for the next measurement.
func (c Clients) Close() {
	for _, one := range c {
		if one.tcp != nil {
			_ = one.tcp.SetLinger(0)
			_ = one.tcp.Close()
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

// each calls f for 0 to n-1, some at once, and returns the first error of each of those.
func each(n int, f func(i int) error) error {
	errs := make([]error, openers)
	var wg sync.WaitGroup
	for w := range openers {
		wg.Go(func() {
			for i := w; i < n; i += openers {
				if errs[w] = f(i); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

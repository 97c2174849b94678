package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/congestion"
	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// An Opener opens connections.
type Opener struct {
	// Permit is asked about an address before it is dialed; an error says why it may not be reached. nil: every address may.
	Permit func(addr netip.Addr) error
	// Dial opens a connection; nil: a net.Dialer. Go sets TCP_NODELAY on it.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Open opens a connection to addr that is ready for its purpose and belongs to the caller. An error is an
// *exchange.Failure.
func (o *Opener) Open(ctx context.Context, w *Way, addr netip.AddrPort, p Purpose) (net.Conn, error) {
	if o.Permit != nil {
		if err := o.Permit(addr.Addr()); err != nil {
			return nil, &exchange.Failure{Reason: exchange.AddressNotAllowed, Err: err}
		}
	}
	if err := w.Check(); err != nil && !p.Plain {
		return nil, err
	}
	nc, err := o.dial(ctx, addr)
	if err != nil {
		reason := exchange.ConnectFailed
		var timeout net.Error
		if Exhausted(err) {
			reason = exchange.ProxyExhausted
		} else if errors.As(err, &timeout) && timeout.Timeout() { // context.DeadlineExceeded is one too
			reason = exchange.ConnectTimeout
		}
		return nil, &exchange.Failure{Reason: reason, Err: err}
	}
	return w.Ready(ctx, nc, addr.Addr(), p)
}

// Exhausted reports whether a connection could not be opened because this machine ran out of something: descriptors, ports,
// memory. It says nothing about the endpoint.
func Exhausted(err error) bool {
	for _, errno := range [...]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (o *Opener) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, addr)
	}
	// Not DialTCP, which binds before it connects, whatever local address it is given: the port then is nobody else's, and all
	// connections to all endpoints share the 28,000 that a machine has.
	var d net.Dialer
	if addr.Addr().Unmap().IsLoopback() {
		d.Control = congestion.Dialing
	}
	return d.DialContext(ctx, "tcp", addr.String())
}

// OpenFor opens a connection for an exchange, within limit (0: none) and before deadline (0: none), and writes down how
// long that took.
func (o *Opener) OpenFor(
	x *exchange.Exchange, w *Way, addr netip.AddrPort, limit time.Duration, deadline exchange.Nanos,
) (net.Conn, error) {
	start := exchange.Now()
	if deadline != 0 {
		left := time.Duration(deadline - start)
		if left <= 0 {
			return nil, &exchange.Failure{Reason: exchange.UpstreamTimeout, Err: context.DeadlineExceeded}
		}
		if limit == 0 || left < limit {
			limit = left
		}
	}
	ctx := context.Background()
	if caller, ok := x.Downstream.(interface{ Context() context.Context }); ok { // the proxy itself, which may want to end
		ctx = caller.Context()
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	p := Purpose{HTTP: true}
	if !w.Shared() {
		p.Client, p.Local = ends(x)
	}
	nc, err := o.Open(ctx, w, addr, p)
	x.Record.Connect = max(exchange.Now()-start, 1)
	return nc, err
}

// ends are what the PROXY header tells of an exchange. Where a trusted proxy in front says who the client is, nobody knows
// its port.
func ends(x *exchange.Exchange) (client, local netip.AddrPort) {
	if x.Conn == nil {
		return client, local
	}
	client = x.Conn.Remote
	if x.ClientIP.IsValid() && x.ClientIP != client.Addr().Unmap() {
		client = netip.AddrPortFrom(x.ClientIP, 0)
	}
	return client, x.Conn.Local
}

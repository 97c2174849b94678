package fetcher

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// New returns the client that filters fetch URLs with. Redirections stay on the host that the user has named: what
// else there is in a network is not a stranger's to choose.
func New(permit func(netip.Addr) error) (*http.Client, *http.Transport) {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		if permit == nil {
			return nil
		}
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return permit(addr.Addr().Unmap())
	}}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
		MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	return &http.Client{
		Transport: transport, Timeout: 15 * time.Second,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch first := via[0]; {
			case len(via) > 3:
				return errors.New("too many redirections")
			case r.URL.Hostname() != first.URL.Hostname() || first.URL.Scheme == "https" && r.URL.Scheme != "https":
				return errors.New("redirected to another host, or away from TLS")
			}
			return nil
		},
	}, transport
}

package dial

import (
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyHeader is the PROXY header of a version for a connection of client to local. Without a client it says that the
// proxy speaks for itself: LOCAL in version 2, UNKNOWN in version 1.
func proxyHeader(version uint8, client, local netip.AddrPort) ([]byte, error) {
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if client.IsValid() && local.IsValid() {
		h = proxyproto.HeaderProxyFromAddrs(version, tcpAddr(client), tcpAddr(local))
	}
	return h.Format()
}

func tcpAddr(a netip.AddrPort) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()))
}

package listener

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

const (
	// maxProxyV1 is the longest line of version 1, its end included.
	maxProxyV1 = 107
	// maxProxyV2 bounds a header of version 2 with all that proxies add to it.
	maxProxyV2 = 4096
	// proxyV2Fixed is what each header of version 2 has: the signature, the command, the family and the length.
	proxyV2Fixed = 16
)

// errNotProxied says that a connection does not begin with a header of the PROXY protocol.
var errNotProxied = errors.New("the connection does not begin with a PROXY header")

// ReadProxyHeader reads the header of the PROXY protocol that a connection begins with, version 1 or 2, and not a byte
// more: the connection is as it was afterwards, without anything around it. It waits until ctx is over. The addresses are
// those of the connection that the header tells of; they are not valid where the peer speaks for itself (LOCAL, UNKNOWN).
// What comes behind is the client's.
func ReadProxyHeader(ctx context.Context, tcp *net.TCPConn) (source, destination netip.AddrPort, err error) {
	header, err := peek(ctx, tcp, proxyHeaderSize)
	if err != nil {
		return source, destination, err
	}
	if _, err := io.ReadFull(tcp, header); err != nil { // all of it lies there
		return source, destination, err
	}
	return parseProxyHeader(header)
}

// proxyHeaderSize returns how long the header is that b begins with, as far as b tells; 0: it does not tell yet.
func proxyHeaderSize(b []byte) (int, error) {
	first := b[:min(len(b), len(proxyproto.SIGV2))]
	switch {
	case bytes.HasPrefix(proxyproto.SIGV2, first):
		if len(b) < proxyV2Fixed {
			return 0, nil
		}
		size := proxyV2Fixed + int(binary.BigEndian.Uint16(b[proxyV2Fixed-2:]))
		if size > maxProxyV2 {
			return 0, fmt.Errorf("the PROXY header is %d bytes long: longer than %d", size, maxProxyV2)
		}
		return size, nil
	case bytes.HasPrefix(proxyproto.SIGV1, first[:min(len(first), len(proxyproto.SIGV1))]):
		line := b[:min(len(b), maxProxyV1)]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return end + 1, nil
		}
		if len(line) == maxProxyV1 {
			return 0, errors.New("the PROXY header of version 1 does not end")
		}
		return 0, nil
	}
	return 0, errNotProxied
}

// parseProxyHeader reads a whole header.
func parseProxyHeader(b []byte) (source, destination netip.AddrPort, err error) {
	r := bytes.NewReader(b)
	in := bufio.NewReaderSize(r, len(b))
	h, err := proxyproto.Read(in)
	switch {
	case err != nil:
		// Without the library's words, which quote what was sent: that may be another protocol's first line.
		return source, destination, errors.New("the PROXY header is malformed")
	case in.Buffered()+r.Len() > 0:
		return source, destination, errors.New("the PROXY header is shorter than it says")
	case h.Command == proxyproto.LOCAL || h.TransportProtocol == proxyproto.UNSPEC:
		return source, destination, nil
	}
	from, to, ok := h.TCPAddrs()
	if !ok {
		return source, destination, errors.New("the PROXY header tells of no TCP connection")
	}
	source, destination = unmapped(from), unmapped(to)
	if !source.IsValid() || !destination.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, errors.New("the PROXY header has no valid addresses")
	}
	return source, destination, nil
}

func unmapped(a *net.TCPAddr) netip.AddrPort {
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

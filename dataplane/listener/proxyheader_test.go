package listener

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// v2 makes a header of version 2.
func v2(command, family byte, payload ...byte) string {
	b := append([]byte(nil), proxyproto.SIGV2...)
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(append(b, payload...))
}

var ipv4 = []byte{192, 0, 2, 1, 192, 0, 2, 9, 0x04, 0xd2, 0, 80}

var proxyHeaders = []struct {
	name, header string
	source       string // empty: the peer's; "-": an error
}{
	{"v1", "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\r\n", "192.0.2.1:1234"},
	{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::9 1234 80\r\n", "[2001:db8::1]:1234"},
	{"v1 unknown", "PROXY UNKNOWN\r\n", ""},
	{"v1 unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
	{"v1, no end", "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80" + strings.Repeat(" ", 80), "-"},
	{"v1, a bare line feed", "PROXY TCP4 192.0.2.1 192.0.2.9 1234 80\n", "-"},
	{"v1, a name", "PROXY TCP4 localhost 192.0.2.9 1234 80\r\n", "-"},
	{"v1, the wrong family", "PROXY TCP4 2001:db8::1 192.0.2.9 1234 80\r\n", "-"},
	{"v1, a port too large", "PROXY TCP4 192.0.2.1 192.0.2.9 65536 80\r\n", "-"},
	{"v1, a field less", "PROXY TCP4 192.0.2.1 192.0.2.9 1234\r\n", "-"},
	{"v1, lower case", "proxy tcp4 192.0.2.1 192.0.2.9 1234 80\r\n", "-"},
	{"v2", v2(0x21, 0x11, ipv4...), "192.0.2.1:1234"},
	{"v2 with more", v2(0x21, 0x11, append(ipv4[:12:12], 0x04, 0, 3, 'a', 'b', 'c')...), "192.0.2.1:1234"},
	{"v2, long", v2(0x21, 0x11, append(ipv4[:12:12], append([]byte{0x04, 0x0f, 0x00}, make([]byte, 0x0f00)...)...)...), "192.0.2.1:1234"},
	{"v2 IPv6", v2(0x21, 0x21, append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::9").AsSlice()...), 4, 0xd2, 0, 80)...), "[2001:db8::1]:1234"},
	{"v2 IPv4 in IPv6", v2(0x21, 0x21, append(append(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), netip.MustParseAddr("::ffff:192.0.2.9").AsSlice()...), 4, 0xd2, 0, 80)...), "192.0.2.1:1234"},
	{"v2 local", v2(0x20, 0x00), ""},
	{"v2 local with addresses", v2(0x20, 0x11, ipv4...), ""},
	{"v2, too long", string(proxyproto.SIGV2) + "\x21\x11\x0f\xf1", "-"},
	{"v2, datagrams", v2(0x21, 0x12, ipv4...), "-"},
	{"v2, a socket file", v2(0x21, 0x31, make([]byte, 216)...), "-"},
	{"v2, an unknown command", v2(0x22, 0x11, ipv4...), "-"},
	{"v2, version 3", v2(0x31, 0x11, ipv4...), "-"},
	{"v2, too short", v2(0x21, 0x11, ipv4[:11]...), "-"},
	{"none", "GET / HTTP/1.1\r\n\r\n", "-"},
	{"TLS", "\x16\x03\x01\x02\x00\x01", "-"},
	{"half a signature", string(proxyproto.SIGV2[:6]) + "other", "-"},
}

// pair is a connection's two ends.
func pair(t *testing.T) (near *net.TCPConn, far net.Conn) {
	t.Helper()
	l := open(t)
	far, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	near = accepted(t, l)
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	_ = far.SetDeadline(time.Now().Add(patience))
	return near, far
}

// TestReadProxyHeader: at once and byte by byte; what follows is left where it is.
func TestReadProxyHeader(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, tt := range proxyHeaders {
		for _, piece := range []int{len(tt.header) + 4, 1} {
			if piece == 1 && len(tt.header) > 1000 {
				piece = 333
			}
			t.Run(tt.name, func(t *testing.T) {
				near, far := pair(t)
				go func() {
					for rest := tt.header + "next"; rest != ""; {
						n := min(piece, len(rest))
						if _, err := io.WriteString(far, rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
				}()
				source, destination, err := ReadProxyHeader(ctx, near)
				if (err != nil) != (tt.source == "-") {
					t.Fatalf("%s to %s, %v; want %s", source, destination, err, tt.source)
				}
				if err != nil {
					return
				}
				got := ""
				if source.IsValid() {
					got = source.String()
				}
				if got != tt.source || source.IsValid() != destination.IsValid() {
					t.Errorf("%s to %s, want %s", got, destination, tt.source)
				}
				next := make([]byte, 4)
				if _, err := io.ReadFull(near, next); err != nil || string(next) != "next" {
					t.Errorf("behind it comes %q, %v", next, err)
				}
			})
		}
	}
}

// A header that is refused is not repeated: it may be what somebody has sent in place of one.
func TestProxyHeaderIsNotRepeated(t *testing.T) {
	for _, tt := range []string{"PROXY TCP4 hunter2 hunter2 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.9 hunter2 80\r\n", "PROXY hunter2\r\n", "PROXY TCP6 ::1%hunter2 ::1 1 2\r\n"} {
		if _, _, err := parseProxyHeader([]byte(tt)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", tt, err)
		}
	}
}

// TestProxyHeaderThatDoesNotCome ends when its time is over, or the connection does.
func TestProxyHeaderThatDoesNotCome(t *testing.T) {
	for _, begin := range []string{"", "PROXY TCP4 ", v2(0x21, 0x11, ipv4...)[:20]} {
		near, far := pair(t)
		if _, err := io.WriteString(far, begin); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, _, err := ReadProxyHeader(ctx, near); err == nil {
			t.Errorf("%q: no error when the time is over", begin)
		}
		near, far = pair(t)
		if _, err := io.WriteString(far, begin); err != nil {
			t.Fatal(err)
		}
		_ = far.(*net.TCPConn).CloseWrite()
		ctx, cancel = context.WithTimeout(t.Context(), patience)
		if _, _, err := ReadProxyHeader(ctx, near); err == nil || ctx.Err() != nil {
			t.Errorf("%q: %v at the end of the connection", begin, err)
		}
		cancel()
	}
}

// FuzzProxyHeader: a size does not depend on what follows, and what is read is what go-proxyproto reads.
func FuzzProxyHeader(f *testing.F) {
	for _, tt := range proxyHeaders {
		f.Add([]byte(tt.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := proxyHeaderSize(b)
		for n := range len(b) {
			part, partErr := proxyHeaderSize(b[:n])
			if partErr != nil && err == nil && size <= len(b) {
				t.Fatalf("the first %d bytes are refused, all are not: %v", n, partErr)
			}
			if part > 0 && part <= n && (part != size || err != nil) {
				t.Fatalf("the first %d bytes are a header of %d, all are one of %d, %v", n, part, size, err)
			}
		}
		if err != nil || size == 0 || size > len(b) {
			return
		}
		if size > maxProxyV2 {
			t.Fatalf("a header of %d bytes", size)
		}
		source, destination, err := parseProxyHeader(b[:size])
		if (err != nil || !source.IsValid()) && destination.IsValid() || source.IsValid() != destination.IsValid() {
			t.Fatalf("%s %s %v", source, destination, err)
		}
		if err == nil && !bytes.HasPrefix(b, proxyproto.SIGV1) && !bytes.HasPrefix(b, proxyproto.SIGV2) {
			t.Fatal("it has no signature")
		}
	})
}

package listener

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// maxHello bounds a ClientHello with the headers of its records.
	maxHello = 16 << 10
	// recordHead is the head of a TLS record, and messageHead that of a message of the handshake (RFC 8446 §4, §5.1).
	recordHead, messageHead = 5, 4

	typeHandshake, typeClientHello = 22, 1
)

// errNoTLS says that a connection does not begin with a ClientHello.
var errNoTLS = errors.New("the connection does not begin with a TLS handshake")

// ServerName waits for the ClientHello that a connection begins with, until ctx is over, and returns the name that the client
// asks for (SNI), in lower case; empty: it asks for none. Nothing is taken out of the connection, so that the handshake can
// take place elsewhere. A hello that comes in many records, or byte by byte, is understood; one of more than 16 KiB is not.
func ServerName(ctx context.Context, tcp *net.TCPConn) (string, error) {
	records, err := peek(ctx, tcp, helloSize)
	if err != nil {
		return "", err
	}
	return serverName(records)
}

// helloSize returns how long the records are that the first message comes in, as far as b tells; 0: it does not tell yet.
func helloSize(b []byte) (int, error) {
	var message [messageHead]byte
	have, want := 0, -1 // bytes of the message, and how long it is
	for at := 0; ; {
		if len(b)-at < recordHead {
			if at == 0 && len(b) > 0 && b[0] != typeHandshake {
				return 0, errNoTLS
			}
			return bounded(at)
		}
		n := int(binary.BigEndian.Uint16(b[at+3:]))
		if b[at] != typeHandshake || b[at+1] != 3 || n == 0 {
			return 0, errNoTLS
		}
		if have < messageHead {
			copy(message[have:], b[at+recordHead:min(len(b), at+recordHead+n)])
		}
		have += n
		at += recordHead + n
		if at > maxHello {
			return 0, errors.New("the ClientHello is too long")
		}
		if len(b) < at && have-(at-len(b)) < messageHead {
			return bounded(at)
		}
		if want < 0 && have >= messageHead {
			if message[0] != typeClientHello {
				return 0, errNoTLS
			}
			want = messageHead + (int(message[1])<<16 | int(message[2])<<8 | int(message[3]))
			if want > maxHello {
				return 0, errors.New("the ClientHello is too long")
			}
		}
		if want >= 0 && have >= want {
			return at, nil
		}
	}
}

// bounded is a size that is not known yet: nothing, where it may still grow.
func bounded(at int) (int, error) {
	if at >= maxHello {
		return 0, errors.New("the ClientHello is too long")
	}
	return 0, nil
}

// errSeen ends a handshake when its hello was read.
var errSeen = errors.New("seen")

// serverName has crypto/tls read a ClientHello: there is one parser of them, and it is that of those that end here.
func serverName(records []byte) (name string, err error) {
	seen := false
	conn := tls.Server(&replay{rest: records}, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = strings.ToLower(hello.ServerName), true
			return nil, errSeen
		},
	})
	if err := conn.Handshake(); !seen {
		return "", err
	}
	return name, nil
}

// replay is a connection on which was sent what lies in rest, and nothing else.
type replay struct {
	net.Conn // nil: nothing else of it is used
	rest     []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *replay) Write(p []byte) (int, error)      { return len(p), nil }
func (r *replay) Close() error                     { return nil }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

// unrecognizedName is the alert that tells a client that nobody here has the name (RFC 6066 §3).
const unrecognizedName = "\x15\x03\x01\x00\x02\x02\x70"

// RefuseName tells a client whose hello was looked at that nobody here has the name that it asks for, and closes.
func RefuseName(tcp *net.TCPConn) {
	farewell(tcp, unrecognizedName)
	_ = tcp.Close()
}

package conformance

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// trustedClient is the address of clients whose forwarding fields are believed.
const trustedClient = "127.0.0.2"

// A transport is a way on which a row goes to the proxy.
type transport uint8

const (
	plain transport = iota
	secured
	streamed // HTTP/2 over TLS
)

var transportNames = [...]string{plain: "plain", secured: "TLS", streamed: "HTTP/2"}

// scheme is what requests come with on that way.
func (w transport) scheme() string {
	if w == plain {
		return "http"
	}
	return "https"
}

// A client is a raw connection to the proxy.
type client struct {
	nc     net.Conn
	in     *bufio.Reader
	scheme string
}

// dial connects to the listener of that transport. Where from is not empty it is the client's address.
func dial(t testing.TB, s *stand, way transport, from string) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if from != "" { // asked for by a few: an address that is bound takes a port of its own
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	address := s.address
	if way != plain {
		address = s.secured
	}
	nc, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if way != plain {
		protocol := "http/1.1"
		if way == streamed {
			protocol = "h2"
		}
		over := tls.Client(nc, &tls.Config{
			InsecureSkipVerify: true, // the certificate is not what is tried
			NextProtos:         []string{protocol},
			CurvePreferences:   []tls.CurveID{tls.X25519}, // the cheapest
		})
		if err := over.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := over.ConnectionState().NegotiatedProtocol; got != protocol {
			t.Fatalf("the proxy speaks %q and not %q", got, protocol)
		}
		nc = over
	}
	return &client{nc: nc, in: bufio.NewReader(nc), scheme: way.scheme()}
}

// close ends the connection with a reset: what was to be seen of it has been seen, and thousands of connections that
// linger after their end would leave the machine without ports for the tests that follow.
func (c *client) close() {
	nc := c.nc
	if over, ok := nc.(*tls.Conn); ok {
		nc = over.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}

// A response is a final response as the client read it, and the interim ones in front of it.
type response struct {
	status  string
	fields  [][2]string
	body    string
	trailer [][2]string
	interim []string
}

func (r *response) get(name string) (values []string) {
	for _, f := range r.fields {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	return values
}

// errNotHTTP says that the proxy sent something that is no canonical response.
var errNotHTTP = errors.New("no canonical response")

func (c *client) line() (string, error) {
	text, err := c.in.ReadString('\n')
	if err != nil {
		if err == io.EOF && text != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	inner, ok := strings.CutSuffix(text, "\r\n")
	if !ok || strings.ContainsAny(inner, "\r\n\x00") {
		return "", fmt.Errorf("%w: the line %q", errNotHTTP, text)
	}
	return inner, nil
}

func (c *client) fields() (fields [][2]string, err error) {
	for {
		text, err := c.line()
		if err != nil || text == "" {
			return fields, unexpected(err)
		}
		name, value, ok := strings.Cut(text, ": ")
		if !ok || !isToken(name) {
			return nil, fmt.Errorf("%w: the field %q", errNotHTTP, text)
		}
		fields = append(fields, [2]string{name, value})
	}
}

// read reads a final response. io.EOF means that there is none; any other error comes with what there was of it.
// interim is told of interim responses.
func (c *client) read(method string, interim func(status string)) (*response, error) {
	r := &response{}
	for {
		first, err := c.line()
		if err != nil {
			return r, err
		}
		if len(first) < len("HTTP/1.1 200 ") || first[:9] != "HTTP/1.1 " || first[12] != ' ' {
			return r, fmt.Errorf("%w: the status line %q", errNotHTTP, first)
		}
		r.status = first[9:12]
		if r.fields, err = c.fields(); err != nil {
			return r, err
		}
		if r.status[0] != '1' || r.status == "101" {
			break
		}
		if len(r.get("Content-Length"))+len(r.get("Transfer-Encoding")) > 0 {
			return r, fmt.Errorf("%w: a %s with framing", errNotHTTP, r.status)
		}
		r.interim = append(r.interim, r.status)
		if interim != nil {
			interim(r.status)
		}
	}
	return r, c.readBody(r, method)
}

func (c *client) readBody(r *response, method string) error {
	lengths, codings := r.get("Content-Length"), r.get("Transfer-Encoding")
	noBody := method == "HEAD" || r.status == "101" || r.status == "204" || r.status == "304"
	switch {
	case len(lengths)+len(codings) > 1:
		return fmt.Errorf("%w: Content-Length %q with Transfer-Encoding %q", errNotHTTP, lengths, codings)
	case noBody && len(codings) > 0, (r.status == "204" || r.status == "101") && len(lengths) > 0:
		return fmt.Errorf("%w: a %s with framing", errNotHTTP, r.status)
	case noBody:
		return nil
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotHTTP, err)
		}
		return c.data(r, int64(n))
	case len(codings) == 0:
		if closing := r.get("Connection"); len(closing) != 1 || closing[0] != "close" {
			return fmt.Errorf("%w: neither a length nor Connection: close", errNotHTTP)
		}
		all, err := io.ReadAll(c.in)
		r.body = string(all)
		return err
	case codings[0] != "chunked":
		return fmt.Errorf("%w: Transfer-Encoding %q", errNotHTTP, codings[0])
	}
	for {
		size, err := c.line()
		if err != nil {
			return unexpected(err)
		}
		n, err := strconv.ParseUint(size, 16, 62)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotHTTP, err)
		}
		if n == 0 {
			r.trailer, err = c.fields()
			return err
		}
		if err := c.data(r, int64(n)); err != nil {
			return err
		}
		if end, err := c.line(); err != nil || end != "" {
			return fmt.Errorf("%w: %q behind a chunk: %w", errNotHTTP, end, unexpected(err))
		}
	}
}

func (c *client) data(r *response, n int64) error {
	var data strings.Builder
	_, err := io.CopyN(&data, c.in, n)
	r.body += data.String()
	return unexpected(err)
}

// ended waits for the end of the connection, which must be clean and without a further byte.
func (c *client) ended() error {
	b, err := c.in.ReadByte()
	switch {
	case err == nil:
		rest, _ := c.in.Peek(c.in.Buffered())
		return fmt.Errorf("%q came where the connection should have ended", append([]byte{b}, rest...))
	case err != io.EOF:
		return err
	}
	return nil
}

// A cut says how a client's bytes are cut into writes.
type cut uint8

const (
	whole cut = iota
	bytewise
	anywhere
)

var cutNames = [...]string{whole: "whole", bytewise: "byte by byte", anywhere: "in pieces"}

// send writes text. Errors are no matter: the proxy may have heard enough.
func (c *client) send(text string, how cut, random *rand.Rand) error {
	for len(text) > 0 {
		n := len(text)
		switch {
		case how == bytewise:
			n = 1
		case how == anywhere && n > 1:
			n = 1 + random.IntN(min(n, max(40, n/4)))
		}
		if _, err := io.WriteString(c.nc, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		// Nothing depends on the pause: it makes it likely that the proxy reads this piece before the next arrives.
		if how == anywhere && len(text) > 0 {
			time.Sleep(50 * time.Microsecond)
		} else if how == bytewise {
			runtime.Gosched()
		}
	}
	return nil
}

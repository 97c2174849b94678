package matrix

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A Response is what a client got.
type Response struct {
	Status  int
	Proto   string
	Header  http.Header
	Trailer http.Header
	Body    string
}

// Client returns a client that speaks the cell's protocol alone and reaches every host at the cell's address, on the port
// of the URL. config may be nil: certificates are not verified then. Redirections are not followed.
func (c *Cell) Client(t testing.TB, config *tls.Config) *http.Client {
	t.Helper()
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	protocols := &http.Protocols{}
	if c.HTTP2 {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	transport := &http.Transport{
		TLSClientConfig: config, Protocols: protocols, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, network, net.JoinHostPort(c.Host, port))
		},
	}
	client := &http.Client{
		Transport: transport, Timeout: harness.Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.clients = append(c.clients, client)
	return client
}

// client is the one that most requests go through.
func (c *Cell) client(t testing.TB) *http.Client {
	if len(c.clients) == 0 {
		c.Client(t, nil)
	}
	return c.clients[0]
}

// Try sends a request and reads the whole response.
func (c *Cell) Try(client *http.Client, r *http.Request) (*Response, error) {
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return &Response{
		Status: response.StatusCode, Proto: response.Proto, Header: response.Header, Trailer: response.Trailer, Body: string(body),
	}, nil
}

// Request makes a request; fields are header fields, "Name: value".
func Request(t testing.TB, method, url, body string, fields ...string) *http.Request {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

// Do sends a request through the cell's client; it must be answered, in the cell's protocol.
func (c *Cell) Do(t testing.TB, method, url, body string, fields ...string) *Response {
	t.Helper()
	response, err := c.Try(c.client(t), Request(t, method, url, body, fields...))
	if err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1"
	if c.HTTP2 {
		want = "HTTP/2.0"
	}
	if response.Proto != want {
		t.Fatalf("answered in %s, want %s", response.Proto, want)
	}
	return response
}

// Get is Do for GET.
func (c *Cell) Get(t testing.TB, url string, fields ...string) *Response {
	t.Helper()
	return c.Do(t, http.MethodGet, url, "", fields...)
}

// Origin starts an HTTP origin for as long as the test runs, and returns its address.
func (*Cell) Origin(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

package http2

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"
)

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// clients are other implementations, which speak to the server over one connection each.
func (r *rig) clients() map[string]*http.Client {
	r.t.Helper()
	//nolint:staticcheck // it is what older programs speak with
	x := &h2.Transport{AllowHTTP: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
		return r.dial("plain"), nil
	}}
	std := &http.Transport{
		DialContext:    func(context.Context, string, string) (net.Conn, error) { return r.dial("plain"), nil },
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return r.dial("tls"), nil },
		Protocols:      &http.Protocols{},
	}
	std.Protocols.SetUnencryptedHTTP2(true)
	std.Protocols.SetHTTP2(true)
	r.t.Cleanup(x.CloseIdleConnections) //nolint:staticcheck // as above
	r.t.Cleanup(std.CloseIdleConnections)
	return map[string]*http.Client{"x/net": {Transport: x}, "net/http": {Transport: std}}
}

func TestOtherClients(t *testing.T) {
	r := newRig(t, ServerOptions{})
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for name, client := range r.clients() {
		for _, scheme := range []string{"http", "https"} {
			if scheme == "https" && name == "x/net" {
				continue // its connections are over TLS then
			}
			get := func(method, path string, body io.Reader, chunked bool) (*http.Response, string) {
				t.Helper()
				q, err := http.NewRequestWithContext(t.Context(), method, scheme+"://a.example"+path, body)
				if err != nil {
					t.Fatal(err)
				}
				if chunked {
					q.ContentLength = -1
					q.Trailer = http.Header{"X-Sum": {"42"}}
				}
				resp, err := client.Do(q)
				if err != nil {
					t.Fatalf("%s, %s %s: %v", name, method, path, err)
				}
				defer func() { _ = resp.Body.Close() }()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatalf("%s, %s %s: %v", name, method, path, err)
				}
				if resp.ProtoMajor != 2 {
					t.Errorf("%s: %s", name, resp.Proto)
				}
				return resp, string(text)
			}
			if resp, text := get("GET", "/x?q=1", nil, false); resp.StatusCode != http.StatusOK || text != "/x" || resp.ContentLength != 2 || resp.Header.Get("Date") == "" {
				t.Errorf("%s: %d %q %v", name, resp.StatusCode, text, resp.Header)
			}
			if resp, text := get("HEAD", "/x", nil, false); resp.StatusCode != http.StatusOK || text != "" || resp.ContentLength != 2 {
				t.Errorf("%s: HEAD: %d %q, length %d", name, resp.StatusCode, text, resp.ContentLength)
			}
			if _, text := get("GET", "/stream", nil, false); text != "abc" {
				t.Errorf("%s: %q", name, text)
			}
			if resp, text := get("POST", "/echo", bytes.NewReader(body), false); text != string(body) || resp.Trailer.Get("X-Read") != "yes" {
				t.Errorf("%s: an echo of %d bytes has %d; trailer %v", name, len(body), len(text), resp.Trailer)
			}
			if resp, text := get("POST", "/echo", bytes.NewReader(body), true); text != string(body) || resp.Trailer.Get("X-Sum") != "42" {
				t.Errorf("%s: an echo of %d bytes has %d; trailer %v", name, len(body), len(text), resp.Trailer)
			}
			if _, text := get("GET", "/big", nil, false); text != string(bigBody()) {
				t.Errorf("%s: a body of %d bytes has %d", name, bigSize, len(text))
			} else if err := <-r.h.errs; err != nil {
				t.Error(err)
			}
			if resp, _ := get("GET", "/hop", nil, false); resp.Header.Get("X-Upper-Case") != "Kept" || resp.Header.Get("Connection") != "" {
				t.Errorf("%s: %v", name, resp.Header)
			}
		}
	}
}

// TestManyAtOnce lets more requests loose than there may be streams.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, ServerOptions{})
	for name, client := range r.clients() {
		results := make(chan error, 300)
		for range cap(results) {
			go func() {
				resp, err := client.Post("http://a.example/echo", "text/plain", strings.NewReader(strings.Repeat("x", 50_000)))
				if err == nil {
					var n int64
					if n, err = io.Copy(io.Discard, resp.Body); err == nil && n != 50_000 {
						err = io.ErrShortWrite
					}
					_ = resp.Body.Close()
				}
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestRequestAsTheHandlerGetsIt(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	p.headers(1, true, p.request("GET", "/head?a=b", "accept", "x", "cookie", "a=1", "x-one", "1", "cookie", "b=2", "te", "trailers"))
	p.flush()
	if o := p.await(1); o.body != "GET a.example a=b\naccept: x\ncookie: a=1; b=2\nx-one: 1\nte: trailers" {
		t.Errorf("%q", o.body)
	}
	p.headers(3, true, p.fields(":method", "GET", ":scheme", "http", ":path", "/head", "host", "b.example:80"))
	p.flush()
	if o := p.await(3); !strings.HasPrefix(o.body, "GET b.example:80 \n") {
		t.Errorf("%q", o.body)
	}
	// All of a small body is there when the request is served: its length is known.
	p.headers(5, false, p.request("POST", "/echo"))
	_ = p.framer.WriteDataPadded(5, true, []byte("hello"), make([]byte, 10))
	p.flush()
	if o := p.await(5); o.body != "hello" || o.trailer != "x-read=yes " {
		t.Errorf("%+v", o)
	}
	p.headers(7, false, p.request("POST", "/echo", "content-length", "5"))
	_ = p.framer.WriteData(7, false, []byte("hello"))
	p.headers(7, true, p.fields("x-sum", "1", "content-length", "7"))
	p.flush()
	if o := p.await(7); o.body != "hello" || o.trailer != "x-sum=1 x-read=yes " {
		t.Errorf("%+v", o)
	}
}

func TestInterim(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	p.headers(1, false, p.request("POST", "/continue", "expect", "100-continue"))
	p.flush()
	if f, ok := p.frame().(*h2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "103" || f.StreamEnded() {
		t.Fatalf("%v", f)
	}
	if f, ok := p.frame().(*h2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "100" || f.StreamEnded() {
		t.Fatalf("%v", f)
	}
	_ = p.framer.WriteData(1, true, []byte("now"))
	p.flush()
	if o := p.await(1); o.status != "200" || o.body != "now" {
		t.Errorf("%+v", o)
	}
}

func TestResponsesThatBreakOff(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	for i, path := range []string{"/torn", "/short", "/silent"} {
		id := uint32(2*i + 1)
		p.headers(id, true, p.request("GET", path))
		p.flush()
		if o := p.await(id); !o.torn || o.reset != h2.ErrCodeInternal {
			t.Errorf("%s: %+v", path, o)
		}
	}
	p.headers(11, true, p.request("GET", "/panic"))
	p.flush()
	if o := p.await(11); o.status != "500" || o.torn {
		t.Errorf("%+v", o)
	}
	p.headers(13, true, p.request("GET", "/after"))
	p.flush()
	if o := p.await(13); o.status != "200" || o.body != "/after" {
		t.Errorf("%+v", o)
	}
}

// TestOneEnd: a stream ends once, also where its end comes alone.
func TestOneEnd(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	p.headers(1, true, p.request("GET", "/late"))
	p.flush()
	if o := p.await(1); o.status != "200" || o.body != "ab" || o.torn {
		t.Errorf("%+v", o)
	}
	p.headers(3, true, p.request("GET", "/after"))
	p.flush()
	for {
		f := p.frame()
		if f == nil {
			t.Fatal("the connection has ended")
		}
		if f.Header().StreamID == 1 {
			t.Errorf("behind the end there is %v", f)
		}
		if f.Header().StreamID == 3 {
			return
		}
	}
}

// TestEarlyAnswer: who is answered while it still sends is told to stop, and no fault is found with what was on its way.
func TestEarlyAnswer(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	p.headers(1, false, p.request("POST", "/early"))
	p.flush()
	if o := p.await(1); o.status != "200" || o.body != "/early" || o.torn {
		t.Fatalf("%+v", o)
	}
	if f, ok := p.frame().(*h2.RSTStreamFrame); !ok || f.StreamID != 1 || f.ErrCode != h2.ErrCodeNo {
		t.Fatalf("%v", f)
	}
	_ = p.framer.WriteData(1, false, []byte("late"))
	p.headers(1, true, p.fields("x-sum", "1"))
	p.headers(3, true, p.request("GET", "/next"))
	p.flush()
	if o := p.await(3); o.status != "200" || o.goAway {
		t.Errorf("%+v", o)
	}
}

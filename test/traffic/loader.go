package traffic

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A loader is one worker.
type loader struct {
	load   *Load
	number int
	count  int
	conn   *net.TCPConn
	stream net.Conn // conn with patience, and with TLS where that is asked for
	reader *bufio.Reader
	client *http.Transport // instead of all of them, for HTTP/2
}

func (w *loader) run() {
	defer w.hangUp()
	o := w.load.options
	for {
		select {
		case <-w.load.stop:
			return
		default:
		}
		n := w.load.taken.Add(1)
		if o.Requests > 0 && n > int64(o.Requests) {
			return
		}
		if pause := w.pause(n); pause > 0 {
			select {
			case <-time.After(pause):
			case <-w.load.stop:
				return
			}
		}
		w.count++
		fresh := (w.number+w.count)*max(o.FreshPercent, 0)%100 < max(o.FreshPercent, 0)
		if !w.connect(fresh) {
			return
		}
		method := o.Methods[(w.number+w.count)%len(o.Methods)]
		id := fmt.Sprintf("%s-%d-%d.", w.load.name, w.number, w.count)
		w.load.sent.Add(1)
		answer, err := w.exchange(method, id, fresh)
		if o.Leave && w.client != nil && errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		w.note(answer, fresh, err)
		if err != nil || fresh || answer.Close {
			w.hangUp()
			if err == nil && !fresh && o.Leave {
				return
			}
		}
	}
}

// pause is how long the request with a number, of all of the load, has to wait.
func (w *loader) pause(number int64) time.Duration {
	o := w.load.options
	switch {
	case o.Rate > 0:
		return time.Until(w.load.began.Add(time.Duration(number) * time.Second / time.Duration(o.Rate)))
	case w.count > 0:
		return o.Pause
	}
	return 0
}

// connect makes sure of a connection on which nothing has happened. It is false where the worker shall end.
func (w *loader) connect(fresh bool) bool {
	if w.load.options.HTTP2 {
		if w.client == nil || fresh {
			w.hangUp()
			w.client = w.load.options.transport()
		}
		return true
	}
	if w.conn != nil && (fresh || w.ended()) {
		if !fresh {
			w.load.mu.Lock()
			w.load.tally.Reopened++
			w.load.mu.Unlock()
			if w.load.options.Leave {
				return false
			}
		}
		w.hangUp()
	}
	for w.conn == nil {
		conn, err := net.DialTimeout("tcp", w.load.options.Addr, harness.Patience)
		if err == nil {
			tcp, ok := conn.(*net.TCPConn)
			if !ok {
				return false
			}
			w.conn, w.stream = tcp, patient{tcp}
			if config := w.load.options.TLS; config != nil {
				secured := tls.Client(w.stream, config)
				w.stream, err = secured, secured.Handshake()
			}
			if err == nil {
				w.reader = bufio.NewReader(w.stream)
				break
			}
			w.hangUp()
		}
		if w.load.options.Leave && errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
		// Nothing was sent, but a client that cannot connect is a lost one.
		w.load.sent.Add(1)
		w.note(Answer{}, fresh, err)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.load.stop:
			return false
		}
	}
	return true
}

// ended reports whether the other side has closed the connection while it was idle.
func (w *loader) ended() bool {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	if err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		// Over TLS what comes between two requests is the announcement of the end.
		ended = err == nil && (n == 0 || w.load.options.TLS != nil) || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true
	}); err != nil {
		return true
	}
	return ended
}

func (w *loader) hangUp() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
		w.client = nil
	}
}

// patient is a connection whose every single read and write has a deadline.
type patient struct{ *net.TCPConn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(harness.Patience)); err != nil {
		return 0, err
	}
	return p.TCPConn.Write(b)
}

// loadBody is the body of the requests that have one.
func loadBody() string { return harness.Pattern(1 << 10) }

func (w *loader) exchange(method, id string, fresh bool) (Answer, error) {
	body := ""
	if method == "POST" || method == "PUT" {
		body = loadBody()
	}
	send := w.overHTTP1
	if w.client != nil {
		send = w.overHTTP2
	}
	a := Answer{ID: id, Method: method}
	response, err := send(method, id, body, fresh)
	if err != nil {
		return a, err
	}
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return a, &cutError{response.StatusCode, err}
	}
	a.Status, a.Proto, a.Origin, a.Close = response.StatusCode, response.Proto, response.Header.Get("X-Origin"), response.Close
	a.Reason = reason(a.Status, text)
	switch text := string(text); {
	case a.Status != http.StatusOK:
		err = fmt.Errorf("%d: %s", a.Status, fmt.Sprintf("%.400q", text))
	case method == "HEAD":
	case !strings.Contains(text, `"`+id+`"`) || !strings.Contains(text, fmt.Sprintf(`"bytes":%d,`, len(body))):
		err = fmt.Errorf("the answer to another request: %s", fmt.Sprintf("%.400q", text))
	}
	if w.load.options.Each != nil {
		w.load.options.Each(a)
	}
	return a, err
}

// A cutError says that a response began and did not end as its framing says.
type cutError struct {
	status int
	err    error
}

func (e *cutError) Error() string {
	return fmt.Sprintf("the body of a %d response is cut short: %v", e.status, e.err)
}

func (e *cutError) Unwrap() error { return e.err }

// reason is what an answer of the proxy itself says, empty for one of an origin.
func reason(status int, text []byte) string {
	if status == http.StatusOK {
		return ""
	}
	var problem struct{ Reason string }
	_ = json.Unmarshal(text, &problem) // that of an origin is any text
	return problem.Reason
}

func (w *loader) overHTTP1(method, id, body string, fresh bool) (*http.Response, error) {
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: load\r\n%s: %s\r\n", method, w.load.options.Target, harness.LoadID, id)
	if fresh {
		request.WriteString("Connection: close\r\n")
	}
	if body != "" {
		fmt.Fprintf(&request, "Content-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n" + body)
	if _, err := io.WriteString(w.stream, request.String()); err != nil {
		return nil, fmt.Errorf("sending: %w", err)
	}
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("no response: %w", err)
	}
	return response, nil
}

func (w *loader) overHTTP2(method, id, body string, _ bool) (*http.Response, error) {
	o := w.load.options
	scheme := "http"
	if o.TLS != nil {
		scheme = "https"
	}
	request, err := http.NewRequest(method, scheme+"://"+o.Addr+o.Target, strings.NewReader(body)) //nolint:noctx // the client has a time-out
	if err != nil {
		return nil, err
	}
	request.Host = "load"
	request.Header.Set(harness.LoadID, id)
	response, err := (&http.Client{Transport: w.client, Timeout: harness.Patience}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("no response: %w", err)
	}
	return response, nil
}

// transport is that of a worker over HTTP/2.
func (o *Options) transport() *http.Transport {
	t := &http.Transport{Protocols: &http.Protocols{}, TLSClientConfig: o.TLS.Clone(), DisableCompression: true}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

func (w *loader) note(a Answer, fresh bool, err error) {
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	t := &w.load.tally
	t.Sent++
	if fresh {
		t.Fresh++
	}
	if a.Status != 0 {
		t.ByStatus[a.Status]++
	}
	if a.Reason != "" {
		t.ByReason[fmt.Sprint(a.Status, " ", a.Reason)]++
	}
	if a.Close && !fresh {
		t.Closed++
	}
	if err != nil {
		t.Lost++
		kind := fmt.Sprint(a.Status, " ", a.Reason)
		if cut := (*cutError)(nil); errors.As(err, &cut) {
			t.Cut++
			kind = "cut"
		}
		if w.load.told[kind]++; w.load.told[kind] <= 5 {
			t.Losses = append(t.Losses, fmt.Sprintf("%s %s: %v", a.Method, a.ID, err))
		}
		return
	}
	t.Answered++
	t.ByMethod[a.Method]++
	t.ByOrigin[a.Origin]++
}

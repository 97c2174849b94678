package reliability

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/load"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

func wrkScript() []byte { return load.Script(false) }

// A bulk is a kind of requests that wrk or h2load sends in large numbers.
type bulk struct {
	program string
	args    []string
	size    int  // of the body of each answer
	fails   bool // every answer has a status over 399
}

func (s *soaked) bulks() []bulk {
	wrk := func(clients int, script, url string, more ...string) []string {
		return append(append([]string{"-t1", "-c" + strconv.Itoa(clients), "--timeout", "20s", "-s", script}, more...), url)
	}
	plain, secure := "http://"+s.plain, "https://"+s.secure
	return []bulk{
		{program: "wrk", args: wrk(32, s.script, plain+"/tiny"), size: 32},
		{program: "wrk", args: wrk(4, s.script, plain+"/100k"), size: 100 << 10},
		{program: "wrk", args: wrk(16, s.script, secure+"/tiny"), size: 32},
		{program: "wrk", args: wrk(2, s.script, secure+"/100k"), size: 100 << 10},
		{program: "wrk", args: wrk(4, s.script, plain+"/tiny", "-H", "Connection: close"), size: 32},
		{program: "wrk", args: wrk(8, s.post, plain+"/tiny"), size: 32},
		{program: "wrk", args: wrk(2, s.upload, plain+"/load"), size: 100},
		{program: "wrk", args: wrk(4, s.script, plain+"/nothing"), fails: true},
		{program: "wrk", args: wrk(2, s.script, plain+"/gone"), fails: true},
		{program: "h2load", args: []string{"-t1", "-c4", "-m16", secure + "/tiny"}, size: 32},
		{program: "h2load", args: []string{"-t1", "-c2", "-m16", plain + "/tiny"}, size: 32},
	}
}

// round sends requests of all kinds side by side for so long, and adds what became of them.
func (s *soaked) round(t *testing.T, d time.Duration, row *row) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d+2*harness.Patience)
	defer cancel()
	var mu sync.Mutex
	var running sync.WaitGroup
	count := func(answered, failed, lost int, loss string) {
		mu.Lock()
		defer mu.Unlock()
		row.sent += answered + failed + lost
		row.answered += answered
		row.failed += failed
		row.lost += lost
		if lost > 0 && len(row.losses) < 20 {
			row.losses = append(row.losses, loss)
		}
	}
	for _, b := range s.bulks() {
		running.Go(func() {
			l, out, err := s.send(ctx, b, d)
			if err != nil {
				count(0, 0, 1, err.Error())
				return
			}
			broken := int(l.Connect + l.Read + l.Write + l.Timeout)
			switch wrong := int(l.Status); {
			case b.fails:
				count(0, wrong, broken+int(l.Requests)-wrong, fmt.Sprintf("%s %v: %s", b.program, b.args, out))
			default:
				count(int(l.Requests)-wrong, 0, wrong+broken, fmt.Sprintf("%s %v: %s", b.program, b.args, out))
				if l.Bytes < (l.Requests-l.Status)*int64(b.size) {
					count(0, 0, 1, fmt.Sprintf("%v: %d bytes in %d answers", b.args, l.Bytes, l.Requests))
				}
			}
		})
	}
	loads := s.loads(t)
	sockets := traffic.OpenSockets(t, s.plain, 20, 20*time.Millisecond)
	running.Go(func() {
		for began := time.Now(); time.Since(began) < d; {
			for name, odd := range oddities {
				if err := odd.try(ctx, s.plain); err != nil {
					count(0, 0, 1, name+": "+err.Error())
				} else if odd.fails {
					count(0, 1, 0, "")
				} else {
					count(1, 0, 0, "")
				}
			}
		}
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		running.Wait()
	}()
	for busy := true; busy; {
		select {
		case <-over:
			busy = false
		case <-time.After(s.pause):
			s.chore(t)
		}
	}
	for _, l := range loads {
		tally := l.Stop()
		count(tally.Answered, 0, tally.Lost, strings.Join(tally.Losses, "; "))
	}
	lost := sockets.Stop()
	sockets.Close()
	count(20-len(lost), 0, len(lost), strings.Join(lost, "; "))
}

func (s *soaked) send(ctx context.Context, b bulk, d time.Duration) (l load.Load, out string, err error) {
	seconds := strconv.Itoa(int(d.Seconds()))
	length := []string{"-d" + seconds + "s"}
	if b.program == "h2load" {
		length = []string{"-D" + seconds}
		if s.few > 0 {
			length = []string{"-n" + strconv.Itoa(s.few)}
		}
	}
	out, err = peers.Run(ctx, s.programs[b.program], peers.AnyCPU, append(length, b.args...)...)
	switch {
	case err != nil:
	case b.program == "h2load":
		l, err = load.ParseH2load(out, d)
	default:
		l, err = load.ParseWrk(out)
	}
	return l, out, err
}

// loads are requests each of whose answers is looked at, over each protocol.
func (s *soaked) loads(t *testing.T) []*traffic.Load {
	t.Helper()
	trust := &tls.Config{InsecureSkipVerify: true}
	var all []*traffic.Load
	for _, o := range []traffic.Options{
		{Addr: s.plain}, {Addr: s.secure, TLS: trust}, {Addr: s.secure, TLS: trust, HTTP2: true}, {Addr: s.plain, Target: "/load?more=100000"},
	} {
		o.Workers, o.Pause, o.Methods = 2, 5*time.Millisecond, []string{"GET", "POST", "HEAD", "PUT", "DELETE"}
		all = append(all, traffic.Start(t, o))
	}
	return all
}

// An oddity is a request as clients send them now and then.
type oddity struct {
	fails bool // it is to fail, and does so rightly
	try   func(ctx context.Context, addr string) error
}

var oddities = map[string]oddity{
	"a chunked upload of 100 KiB": {try: func(ctx context.Context, addr string) error {
		return upload(ctx, addr, struct{ io.Reader }{strings.NewReader(harness.Pattern(100 << 10))}, 100<<10)
	}},
	"an upload of 1 MiB": {try: func(ctx context.Context, addr string) error {
		return upload(ctx, addr, bytes.NewReader(make([]byte, 1<<20)), 1<<20)
	}},
	"a slow answer": {try: func(ctx context.Context, addr string) error {
		return ask(ctx, addr, "GET /load?wait_ms=20 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 ")
	}},
	"an error of the origin": {fails: true, try: func(ctx context.Context, addr string) error {
		return ask(ctx, addr, "GET /load?status=500 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 500 ")
	}},
	"a malformed request": {fails: true, try: func(ctx context.Context, addr string) error {
		return ask(ctx, addr, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 400 ")
	}},
	"nobody listens": {fails: true, try: func(ctx context.Context, addr string) error {
		return ask(ctx, addr, "POST /gone HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "HTTP/1.1 502 ")
	}},
	"an upload that its client gives up": {fails: true, try: func(ctx context.Context, addr string) error {
		return giveUp(ctx, addr, "POST /load HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"+harness.Pattern(50_000), 0)
	}},
	"a download that its client gives up": {fails: true, try: func(ctx context.Context, addr string) error {
		return giveUp(ctx, addr, "GET /load?bytes=3000000 HTTP/1.1\r\nHost: h\r\n\r\n", 1000)
	}},
	"a wait that its client gives up": {fails: true, try: func(ctx context.Context, addr string) error {
		return giveUp(ctx, addr, "GET /load?wait_ms=1000 HTTP/1.1\r\nHost: h\r\n\r\n", 0)
	}},
	"a connection without a request": {fails: true, try: func(ctx context.Context, addr string) error { return giveUp(ctx, addr, "", 0) }},
}

// upload sends a body, of which every byte must have come.
func upload(ctx context.Context, addr string, body io.Reader, size int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/load", body)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && !strings.Contains(string(text), fmt.Sprintf(`"bytes":%d,`, size)) {
		err = fmt.Errorf("%s %.200q", response.Status, text)
	}
	return err
}

func dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: harness.Patience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T", conn)
	}
	return tcp, tcp.SetDeadline(time.Now().Add(harness.Patience))
}

// ask sends bytes, and expects an answer that begins so and ends with the connection.
func ask(ctx context.Context, addr, request, want string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	text, err := io.ReadAll(conn)
	if err == nil && !strings.HasPrefix(string(text), want) {
		err = fmt.Errorf("%.200q", text)
	}
	return err
}

// giveUp sends bytes, reads some, and resets the connection.
func giveUp(ctx context.Context, addr, request string, read int64) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, request)
	if err == nil {
		_, err = io.CopyN(io.Discard, conn, read)
	}
	return errors.Join(err, conn.SetLinger(0), conn.Close())
}

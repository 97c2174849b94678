package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// originVariable makes a test binary an origin process; its value is the address, a space, and the origin's name.
const originVariable = "PINGORA_TEST_ORIGIN"

// An Echoed is what Echo answers with: the request as the origin has seen it.
type Echoed struct {
	Origin     string      `json:"origin"`
	Connection string      `json:"connection"` // the peer's address: the same for requests on the same connection
	Method     string      `json:"method"`
	Target     string      `json:"target"`
	Proto      string      `json:"proto"`
	Host       string      `json:"host"`
	Header     http.Header `json:"header"`
	Trailer    http.Header `json:"trailer"`
	Bytes      int64       `json:"bytes"` // of the body
	SHA256     string      `json:"sha256"`
	More       string      `json:"more,omitempty"`
}

// ParseEchoed reads the body of an Echo's answer.
func ParseEchoed(t testing.TB, body string) Echoed {
	t.Helper()
	var e Echoed
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("not an echo: %v: %q", err, tail(body))
	}
	return e
}

// Echo is a handler that answers with an Echoed as JSON, and with X-Origin: its name. The query asks for more: `status`
// is the answer's status, `bytes` makes a body of so many bytes instead (Pattern), `wait_ms` lets it wait for so long, `more` adds so many bytes (Pattern) to the Echoed, and `sized` gives
// that a length where it would be chunked. An upgrade is taken, and what comes
// then is sent back.
func Echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			sendBack(w)
			return
		}
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			return // the client has gone
		}
		query := r.URL.Query()
		if wait, err := strconv.Atoi(query.Get("wait_ms")); err == nil {
			select {
			case <-time.After(time.Duration(wait) * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("X-Origin", name)
		status, err := strconv.Atoi(query.Get("status"))
		if err != nil {
			status = http.StatusOK
		}
		if size, err := strconv.Atoi(query.Get("bytes")); err == nil {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			w.WriteHeader(status)
			_, _ = io.WriteString(w, Pattern(size))
			return
		}
		echoed := Echoed{
			Origin: name, Connection: r.RemoteAddr, Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host,
			Header: r.Header, Trailer: r.Trailer, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil)),
		}
		if size, err := strconv.Atoi(query.Get("more")); err == nil {
			echoed.More = Pattern(size)
		}
		text, err := json.Marshal(echoed)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if query.Has("sized") {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		w.WriteHeader(status)
		_, _ = w.Write(text)
	})
}

// sendBack takes an upgrade, and sends what it gets.
func sendBack(w http.ResponseWriter) {
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{}) // the server's own is for heads
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err == nil {
		_, _ = io.Copy(conn, stream.Reader)
	}
}

// Pattern is a text of n bytes in which no part is like another, so that a piece that is lost or doubled shows.
func Pattern(n int) string {
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(strconv.AppendInt(b, int64(len(b)), 16), '\n')
	}
	return string(b[:n])
}

// A WebOrigin is an origin made of net/http's server, in this process.
type WebOrigin struct {
	Addr string
	// Requests is the number of requests so far.
	Requests atomic.Int64
}

// StartOrigin serves with the handler until the test ends.
func StartOrigin(t testing.TB, handler http.Handler) *WebOrigin {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	o := &WebOrigin{Addr: listener.Addr().String()}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.Requests.Add(1)
			handler.ServeHTTP(w, r)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return o
}

// An OriginProcess is an Echo in a process of its own, which can be killed and started again on the same address.
type OriginProcess struct {
	Addr    string
	Name    string
	command *exec.Cmd
	env     []string
}

// StartOriginProcess starts an origin in a process of its own. It has a loopback address that nobody else uses: while it
// is down its port cannot become that of somebody's outgoing connection.
func StartOriginProcess(t testing.TB, name string) *OriginProcess {
	t.Helper()
	return startOriginProcess(t, name)
}

// OwnLoopback is a loopback address that nobody else uses, so that every port of it is free.
func OwnLoopback() netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(127)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
}

func startOriginProcess(t testing.TB, name string, env ...string) *OriginProcess {
	t.Helper()
	o := &OriginProcess{Name: name, env: env, Addr: OwnLoopback().String() + ":0"}
	o.Start(t)
	t.Cleanup(o.stop)
	return o
}

// Start starts it again after Kill, on the same address, and returns when it accepts connections.
func (o *OriginProcess) Start(t testing.TB) {
	t.Helper()
	if o.command != nil {
		t.Fatal("the origin runs already")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self)
	command.Env = append(append(environment(), originVariable+"="+o.Addr+" "+o.Name), o.env...)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	o.command = command
	line := make([]byte, 64)
	n, err := said.Read(line)
	if err != nil {
		o.stop()
		t.Fatalf("the origin process did not start: %v", err)
	}
	o.Addr = strings.TrimSpace(string(line[:n]))
}

// Kill ends the process at once, with SIGKILL, and returns when it has ended.
func (o *OriginProcess) Kill(t testing.TB) {
	t.Helper()
	if o.command == nil {
		t.Fatal("the origin does not run")
	}
	o.stop()
}

// Signal sends a signal: SIGSTOP makes an origin that hangs, SIGCONT lets it go on.
func (o *OriginProcess) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := o.command.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (o *OriginProcess) stop() {
	if o.command == nil {
		return
	}
	_ = o.command.Process.Kill()
	_ = o.command.Wait()
	o.command = nil
}

// originMain is the whole program of an origin process.
func originMain(value string) int {
	address, name, _ := strings.Cut(value, " ")
	listener, err := net.Listen("tcp", address) //nolint:noctx // local
	if err != nil {
		fmt.Fprintln(os.Stderr, "origin process:", err)
		return 1
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: ledgered(os.Getenv(ledgerVariable), Echo(name)), ReadHeaderTimeout: time.Minute, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	fmt.Fprintln(os.Stderr, "origin process:", server.Serve(listener))
	return 1
}

package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const ordinaryClients = 50

// TestHostileClientsCostLittle lets clients that never end their heads, or never end their fields, loose on a proxy that
// serves ordinary ones meanwhile: all hostile ones are cut, no ordinary request is lost, memory stays within bounds.
func TestHostileClientsCostLittle(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("a"))
	p := harness.Start(t, "limits: {header_timeout_ms: 2000, min_body_bytes_per_sec: 1024}\naccess_log: {path: 'off'}\n"+
		"services: [{name: web, bind_address: '127.0.0.1:0', timeouts: {connect_ms: 10000, request_ms: 60000}, upstreams: ['"+origin.Addr+"']}]", harness.Options{})
	address := p.Addr(t, "web")
	ordinary := startOrdinary(t, address)
	ordinary.await(4 * ordinaryClients) // the memory that they need is there

	for _, c := range []struct {
		name  string
		begin string // what each client sends at once
		more  string // what it goes on with, every few milliseconds
		end   string // the status and the reason with which it must be cut; empty: without a word
		count int
		each  int // bytes of memory that one may cost
	}{
		{"slow heads", "GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", 1000), "y", "408 request_timeout", 500, 32 << 10},
		{"silent", "", "", "", 500, 16 << 10},
		{"slow chunks", chunked(""), "1\r\nx\r\n", "408 request_timeout", 500, 48 << 10},
		{"header bombs", "GET / HTTP/1.1\r\nHost: a.example\r\n" + strings.Repeat("X: y\r\n", 20000), "X: y\r\n", "431 header_too_large", 100, 96 << 10},
		{"extension bombs", chunked(strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 100)), "0", "400 bad_request", 100, 96 << 10},
	} {
		t.Run(c.name, func(t *testing.T) { // one behind the other: each has the proxy's memory to itself
			before := resident(t, p.PID())
			var running sync.WaitGroup
			ended := make([]string, c.count)
			for i := range ended {
				running.Go(func() { ended[i] = hostile(address, c.begin, c.more) })
			}
			most := before
			done := make(chan struct{})
			go func() {
				running.Wait()
				close(done)
			}()
			for over := false; !over; {
				select {
				case <-done:
					over = true
				case <-time.After(50 * time.Millisecond):
				}
				most = max(most, resident(t, p.PID()))
			}
			count := map[string]int{}
			for _, status := range ended {
				count[status]++
			}
			if count[c.end] != c.count {
				t.Errorf("%d clients were cut with %v instead of %q", c.count, count, c.end)
			}
			bound := c.count * c.each
			if harness.Race {
				bound *= 16 // it shadows memory, and has pools drop what they are given
			}
			t.Logf("%d KiB more, %d KiB a client", (most-before)>>10, (most-before)>>10/c.count)
			if most-before > bound {
				t.Errorf("%d clients cost %d KiB of memory, more than %d", c.count, (most-before)>>10, bound>>10)
			}
		})
	}
	ordinary.stop(t)
}

// hostile returns the status with which the proxy has cut a client; empty where it closed without a word.
func hostile(address, begin, more string) string {
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := io.WriteString(nc, begin); err != nil || more == "" {
			return
		}
		tick := time.NewTicker(20 * time.Millisecond) // how slow the client is; nothing waits for it
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := io.WriteString(nc, more); err != nil {
					return
				}
			}
		}
	})
	answer, err := io.ReadAll(nc)
	close(stop)
	_ = nc.SetDeadline(time.Unix(1, 0))
	sending.Wait()
	if err != nil {
		return err.Error()
	}
	if status, ok := strings.CutPrefix(string(answer), "HTTP/1.1 "); ok {
		if _, reason, ok := strings.Cut(status, `"reason":"`); ok {
			return status[:4] + reason[:strings.IndexByte(reason, '"')]
		}
	}
	return string(answer)
}

// ordinaries are clients that ask one thing after the other.
type ordinaries struct {
	running sync.WaitGroup
	quit    chan struct{}
	served  chan struct{}
	mu      sync.Mutex
	lost    []error
	total   int
}

func startOrdinary(t *testing.T, address string) *ordinaries {
	t.Helper()
	o := &ordinaries{quit: make(chan struct{}), served: make(chan struct{}, 1)}
	transport := &http.Transport{MaxIdleConnsPerHost: ordinaryClients}
	client := &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	for i := range ordinaryClients {
		o.running.Go(func() {
			for {
				select {
				case <-o.quit:
					return
				case <-time.After(10 * time.Millisecond): // ordinary clients think a little
				}
				err := ask(client, "http://"+address+"/"+strconv.Itoa(i))
				o.mu.Lock()
				o.total++
				if err != nil {
					o.lost = append(o.lost, err)
				}
				o.mu.Unlock()
				select {
				case o.served <- struct{}{}:
				default:
				}
			}
		})
	}
	return o
}

func ask(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// await waits until so many requests have been made.
func (o *ordinaries) await(n int) {
	for range o.served {
		o.mu.Lock()
		total := o.total
		o.mu.Unlock()
		if total >= n {
			return
		}
	}
}

func (o *ordinaries) stop(t *testing.T) {
	t.Helper()
	close(o.quit)
	o.running.Wait()
	if len(o.lost) > 0 {
		t.Errorf("%d of %d ordinary requests were lost: %v", len(o.lost), o.total, o.lost[0])
	}
	t.Logf("%d ordinary requests", o.total)
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

package faulty

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// program is the path of toxiproxy, asked for once. Packages of tests lie two folders below the module's.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TOXIPROXY"); path != "" {
		return path, nil
	}
	command := exec.Command("../../hack/tool.sh", "toxiproxy")
	command.Stderr = os.Stderr // it says when it builds
	path, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("hack/tool.sh toxiproxy: %w; or set TOXIPROXY to its path", err)
	}
	return strings.TrimSpace(string(path)), nil
})

// A Toxiproxy is a running toxiproxy: connections through it suffer what its links are told.
type Toxiproxy struct{ url string }

// StartToxiproxy starts one, which ends with the test.
func StartToxiproxy(t testing.TB) *Toxiproxy {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, "-host", host, "-port", port)
	command.Env = append(os.Environ(), "LOG_LEVEL=error")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	x := &Toxiproxy{url: "http://" + net.JoinHostPort(host, port)}
	harness.Eventually(t, "toxiproxy answers", func() bool {
		response, err := client().Get(x.url + "/version") //nolint:noctx // the client has a time-out
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
	return x
}

// freeAddress is an address of this host that nobody else uses.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", harness.OwnLoopback().String()+":0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A Link leads from an address of its own to an origin.
type Link struct {
	Addr    string
	to      string
	proxies string
}

// Link makes one to an address.
func (x *Toxiproxy) Link(t testing.TB, to string) *Link {
	t.Helper()
	l := &Link{Addr: freeAddress(t), to: to, proxies: x.url + "/proxies"}
	l.open(t)
	return l
}

func (l *Link) open(t testing.TB) {
	t.Helper()
	post(t, l.proxies, map[string]any{"name": l.Addr, "listen": l.Addr, "upstream": l.to, "enabled": true})
}

func (l *Link) toxics() string { return l.proxies + "/" + l.Addr + "/toxics" }

// Suffer adds a toxic to what comes from the origin ("downstream") or goes to it ("upstream"), for connections that are
// open, too: latency, bandwidth, timeout, reset_peer, limit_data, slow_close, slicer, with their attributes.
func (l *Link) Suffer(t testing.TB, stream, toxic string, attributes map[string]int) {
	t.Helper()
	post(t, l.toxics(), map[string]any{"name": stream + toxic, "type": toxic, "stream": stream, "attributes": attributes})
}

// Recover removes all toxics. Connections stay; those on which a reset waits would keep toxiproxy from answering: Renew
// such links.
func (l *Link) Recover(t testing.TB) {
	t.Helper()
	response, err := client().Get(l.toxics()) //nolint:noctx // the client has a time-out
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var toxics []struct{ Name string }
	if err := json.NewDecoder(response.Body).Decode(&toxics); err != nil {
		t.Fatal(err)
	}
	for _, toxic := range toxics {
		remove(t, l.toxics()+"/"+toxic.Name)
	}
}

// Renew ends all connections and removes all toxics.
func (l *Link) Renew(t testing.TB) {
	t.Helper()
	remove(t, l.proxies+"/"+l.Addr)
	l.open(t)
}

func remove(t testing.TB, url string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("removing %s: %s", url, response.Status)
	}
}

// client is one each of whose requests has a connection of its own.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
}

func post(t testing.TB, url string, what map[string]any) {
	t.Helper()
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client().Post(url, "application/json", bytes.NewReader(text)) //nolint:noctx // the client has a time-out
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("POST %s %s: %s", url, text, response.Status)
	}
}

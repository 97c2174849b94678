// Command overload offers a proxy three times what its origin can serve, and prints what becomes of it: how many requests
// are served (the goodput), how fast the others are turned away, and how it goes on afterwards.
//
//	overload bin/pingora-proxy
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

const (
	places   = 20                    // requests that the origin works on at a time
	work     = 20 * time.Millisecond // for which each takes
	capacity = int(time.Second/work) * places
	address  = "127.0.0.1:18080"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: overload PROXY")
		os.Exit(2)
	}
	if err := measure(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(1)
	}
}

func measure(proxy string) error {
	working := make(chan struct{}, places)
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		working <- struct{}{}
		time.Sleep(work)
		<-working
	}))
	defer origin.Close()
	dir, err := os.MkdirTemp("", "overload")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`admin: {bind_address: off}
metrics: {bind_address: off}
access_log: {path: off}
services:
  - {name: shop, bind_address: '%s', upstreams: ['%s'], limits: {max_requests: %d}}
`, address, origin.Listener.Addr(), places+places/5)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	process := exec.Command(proxy, "--config", config)
	if err := process.Start(); err != nil {
		return err
	}
	defer func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	}()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}, Timeout: 10 * time.Second}
	if err := await(client); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		rate int
		time time.Duration
	}{{"below capacity", capacity * 9 / 10, 10 * time.Second}, {"three times capacity", 3 * capacity, 30 * time.Second}, {"afterwards", capacity * 9 / 10, 5 * time.Second}} {
		fmt.Printf("%-20s %s\n", phase.name+":", traffic.MakeOffer(client, "http://"+address+"/", phase.rate, phase.time))
	}
	return nil
}

// await waits until the proxy answers.
func await(client *http.Client) error {
	var err error
	for range 100 {
		var r *http.Response
		if r, err = client.Get("http://" + address + "/health"); err == nil {
			return r.Body.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/e2e/ledger"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":8080")
	if err != nil {
		return err
	}
	book := ledger.NewWriter(os.Getenv("LEDGER"))
	server := &http.Server{Handler: echo(name, book), ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Within the pod's grace period: requests that run end, and the ledger gets what it has not got.
	leave, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(leave), book.Close(leave))
}

// echo answers as test/traffic expects it: with the request's id and the size of its body.
func echo(name string, book *ledger.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(ledger.Field)
		if id != "" {
			book.Note(r.Method, id, r.URL.Path)
		}
		size, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return // the client has gone
		}
		w.Header().Set("X-Origin", name)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"origin":%q,"id":%q,"bytes":%d,"host":%q}`+"\n", name, id, size, r.Host)
	})
}

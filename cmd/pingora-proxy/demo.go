package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// newDemo is the command that starts two small upstreams to try the proxy with.
func newDemo(stderr io.Writer) *cobra.Command {
	listen := []string{"127.0.0.1:3001", "127.0.0.1:3002"}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start two small upstreams to try the proxy with",
		Long: `demo starts small HTTP servers that say who they are and what they were asked, such as config/default.yaml
forwards to. They are for trying things out, not for serving anything.`,
		Example: `  pingora-proxy demo
  pingora-proxy demo --listen 127.0.0.1:4001 --listen 127.0.0.1:4002`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return demo(ctx, listen, stderr)
		},
	}
	cmd.Flags().StringArrayVar(&listen, "listen", listen, "address of an upstream; may be repeated")
	completeFlags(cmd, nil, nil, "listen")
	return cmd
}

// demo serves until ctx ends.
func demo(ctx context.Context, addresses []string, stderr io.Writer) error {
	var servers []*http.Server
	var running sync.WaitGroup
	defer running.Wait()
	defer func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}()
	for _, address := range addresses {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fail(fmt.Errorf("demo upstream: %w", err))
		}
		s := &http.Server{Handler: demoHandler(ln.Addr().String()), ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		running.Go(func() {
			if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				fmt.Fprintln(stderr, "demo upstream:", err)
			}
		})
		fmt.Fprintf(stderr, "demo upstream ready on http://%s\n", ln.Addr())
	}
	<-ctx.Done()
	return nil
}

// demoHandler answers with what it was asked: enough to see which fields the proxy adds.
func demoHandler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		//nolint:gosec // plain text, said to be so
		fmt.Fprintf(w, "hello from the demo upstream %s\n%s %s %s\nHost: %s\n", name, r.Method, r.URL.RequestURI(), r.Proto, r.Host)
		for _, field := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id"} {
			fmt.Fprintf(w, "%s: %s\n", field, r.Header.Get(field)) //nolint:gosec // plain text
		}
	})
}

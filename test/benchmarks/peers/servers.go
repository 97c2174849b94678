package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// startAttempts is how often a server is started on another port when somebody took the one that was free a moment ago.
const startAttempts = 3

// Config generates the configuration of a server.
type Config struct {
	// Text returns the configuration for a server that shall listen on addr; dir is an empty directory of its own, for
	// what the configuration wants to write. For nginx it is the content of the http block (an access log is set in the
	// server block, it is off outside), for HAProxy the whole file but the global section, to which Global adds lines.
	Text   func(addr, dir string) string
	Global string
	// CPU pins the server to one CPU, AnyCPU does not; CPUs pins it to several, and then CPU does not count.
	CPU  int
	CPUs []int
	// Workers is the number of nginx's workers, 0 means 1.
	Workers int
	// Stdout receives the server's standard output, nil discards it.
	Stdout *os.File
	// MaxConnections bounds the connections of nginx's worker or of HAProxy, 0 means 65536.
	MaxConnections int
}

// Server is a running server.
type Server struct {
	*Process
	// Addr is where it listens, on the loopback.
	Addr string
	// Dir holds its configuration and what it writes; it is removed by Stop.
	Dir string
}

// Stop stops the server and removes its directory.
func (s *Server) Stop() error {
	return errors.Join(s.Process.Stop(), os.RemoveAll(s.Dir))
}

// StartNginx starts nginx in the foreground and waits until it accepts connections.
func StartNginx(ctx context.Context, cfg Config) (*Server, error) {
	program, err := Find(ctx, "nginx")
	if err != nil {
		return nil, err
	}
	return startServer(ctx, program, cfg, nginxFile)
}

// StartHAProxy starts HAProxy with one thread in the foreground and waits until it accepts connections.
func StartHAProxy(ctx context.Context, cfg Config) (*Server, error) {
	program, err := Find(ctx, "haproxy")
	if err != nil {
		return nil, err
	}
	return startServer(ctx, program, cfg, haproxyFile)
}

// renderer returns a server's file and the arguments that make the server run it.
type renderer func(cfg Config, text, dir, file string) (content string, args []string)

func startServer(ctx context.Context, program Program, cfg Config, render renderer) (*Server, error) {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 65536
	}
	var errs []error
	for range startAttempts {
		s, err := tryServer(ctx, program, cfg, render)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		// nginx: "Address already in use"; HAProxy: "cannot bind socket (Address already in use)".
		if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func tryServer(ctx context.Context, program Program, cfg Config, render renderer) (*Server, error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "peer-"+program.Name+"-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, program.Name+".conf")
	content, args := render(cfg, cfg.Text(addr, dir), dir, file)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	process, err := Start(ctx, Spec{
		Program: program, Args: args, Dir: dir, CPU: cfg.CPU, CPUs: cfg.CPUs, Stdout: cfg.Stdout, Ready: Dials(addr),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Server{Process: process, Addr: addr, Dir: dir}, nil
}

func nginxFile(cfg Config, text, dir, file string) (string, []string) {
	var b strings.Builder
	if os.Geteuid() == 0 {
		// Else the worker would drop to a user who cannot open what lies in dir.
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, `daemon off;
master_process on;
worker_processes %[5]d;
worker_rlimit_nofile %[1]d;
error_log stderr warn;
pid %[2]s/nginx.pid;
events { worker_connections %[3]d; }
http {
access_log off;
client_body_temp_path %[2]s/body;
proxy_temp_path %[2]s/proxy;
fastcgi_temp_path %[2]s/fastcgi;
uwsgi_temp_path %[2]s/uwsgi;
scgi_temp_path %[2]s/scgi;
%[4]s
}
`, openFiles(2*cfg.MaxConnections+64), dir, cfg.MaxConnections, text, max(1, cfg.Workers))
	return b.String(), []string{"-p", dir, "-e", "stderr", "-c", file}
}

func haproxyFile(cfg Config, text, _, file string) (string, []string) {
	// HAProxy wants two descriptors a connection and half of one for splicing, and would not start with fewer; what is
	// configured may need far fewer.
	return fmt.Sprintf(`global
nbthread 1
maxconn %d
no strict-limits
%s
%s
`, cfg.MaxConnections, cfg.Global, text), []string{"-db", "-f", file}
}

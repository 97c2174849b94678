package peers

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestServerFiles(t *testing.T) {
	cfg := Config{MaxConnections: 100, Global: "log stdout format raw local0"}
	nginx, args := nginxFile(cfg, "server {}", "/d", "/d/nginx.conf")
	for _, want := range []string{"daemon off;", "worker_connections 100;", "pid /d/nginx.pid;", "proxy_temp_path /d/proxy;", "http {\n", "\nserver {}\n}\n"} {
		if !strings.Contains(nginx, want) {
			t.Errorf("nginx: %q is not in\n%s", want, nginx)
		}
	}
	if got := strings.Join(args, " "); got != "-p /d -e stderr -c /d/nginx.conf" {
		t.Errorf("nginx is run with %s", got)
	}
	haproxy, args := haproxyFile(cfg, "frontend f", "/d", "/d/haproxy.conf")
	for _, want := range []string{"nbthread 1\n", "maxconn 100\n", "log stdout format raw local0\n", "\nfrontend f\n"} {
		if !strings.Contains(haproxy, want) {
			t.Errorf("haproxy: %q is not in\n%s", want, haproxy)
		}
	}
	if got := strings.Join(args, " "); got != "-db -f /d/haproxy.conf" {
		t.Errorf("haproxy is run with %s", got)
	}
}

func TestServersAnswer(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(context.Context, Config) (*Server, error)
		text  func(addr string) string
	}{
		{"nginx", StartNginx, func(addr string) string { return "server { listen " + addr + "; return 200 ok; }" }},
		{"haproxy", StartHAProxy, func(addr string) string {
			return "defaults\nmode http\ntimeout connect 5s\ntimeout client 5s\ntimeout server 5s\n" +
				"frontend f\nbind " + addr + "\nhttp-request return status 200 content-type text/plain string ok"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var dir string
			s, err := tc.start(t.Context(), Config{CPU: AnyCPU, Text: func(addr, d string) string {
				dir = d
				return tc.text(addr)
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := Answers("http://" + s.Addr)(t.Context()); err != nil {
				t.Error(err)
			}
			if s.Dir != dir {
				t.Errorf("its directory is %s, its configuration was told %s", s.Dir, dir)
			}
			stop(t, s)
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its directory is left behind: %v", err)
			}
		})
		t.Run(tc.name+" with a mistake", func(t *testing.T) {
			_, err := tc.start(t.Context(), Config{CPU: AnyCPU, Text: func(string, string) string { return "no-such-word;" }})
			if err == nil || !strings.Contains(err.Error(), "no-such-word") {
				t.Errorf("got %v", err)
			}
		})
	}
}

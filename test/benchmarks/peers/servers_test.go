package peers

import (
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

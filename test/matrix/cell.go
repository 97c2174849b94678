package matrix

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// A Source is where the configuration of a cell comes from.
type Source string

// The sources.
const (
	File   Source = "file"
	Object Source = "object"
)

// A Cell is one way to run a test.
type Cell struct {
	Source Source
	HTTP2  bool
	// Host is the cell's own address. ${host} in a configuration stands for it.
	Host string
	// Globals are the settings of the process, in the file's YAML. They are read by the first Serve.
	Globals string
	// Env is added to the environment of the process.
	Env []string
	// Args are added to the command line of a controller.
	Args []string
	// Proxy is the running process, after the first Serve.
	Proxy *harness.Proxy

	plane   *kube.ControlPlane
	site    *site
	dir     string
	origin  string
	clients []*http.Client
}

// Run runs a test in every cell, side by side.
func Run(t *testing.T, test func(t *testing.T, c *Cell)) {
	t.Helper()
	for _, source := range []Source{File, Object} {
		for _, http2 := range []bool{false, true} {
			name := string(source) + "/h1"
			if http2 {
				name = string(source) + "/h2"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				plane, err := controlPlane()
				if err != nil {
					t.Fatal(err)
				}
				c := &Cell{
					Source: source, HTTP2: http2, Host: plane.Address(t).String(), plane: plane, dir: t.TempDir(),
				}
				t.Cleanup(func() {
					for _, client := range c.clients {
						client.CloseIdleConnections()
					}
				})
				test(t, c)
			})
		}
	}
}

// Serve makes services, items of the file's `services`, the configuration, and returns when it serves. ${host} stands for
// the cell's address, ${dir} for the folder of its files, and ${origin} for an origin that echoes its requests
// (harness.Echo).
func (c *Cell) Serve(t testing.TB, services string) {
	t.Helper()
	text := c.expand(t, services)
	switch {
	case c.Source == File && c.Proxy == nil:
		c.Proxy = harness.Start(t, c.file(text), harness.Options{Env: c.Env})
	case c.Source == File:
		c.Proxy.Reload(t, c.file(text))
	default:
		c.serveObjects(t, text)
	}
}

// Refused expects that services are not taken, or (custom resources) that the object says what is wrong with it; what
// is said must contain want.
func (c *Cell) Refused(t testing.TB, services, want string) {
	t.Helper()
	text := c.expand(t, services)
	if c.Source == Object {
		c.objectsRefused(t, text, want)
		return
	}
	path := filepath.Join(t.TempDir(), "refused.yaml")
	if err := os.WriteFile(path, []byte(c.file(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := harness.Run(t, nil, "--validate", "--config", path)
	if r.Code == 0 || !strings.Contains(r.Stderr+r.Stdout, want) {
		t.Errorf("code %d, want an error with %q:\n%s%s", r.Code, want, r.Stdout, r.Stderr)
	}
}

func (c *Cell) expand(t testing.TB, text string) string {
	t.Helper()
	if strings.Contains(text, "${origin}") && c.origin == "" {
		c.origin = c.Origin(t, harness.Echo("origin"))
	}
	return strings.NewReplacer("${host}", c.Host, "${dir}", c.dir, "${origin}", c.origin).Replace(text)
}

// file is a whole configuration file.
func (c *Cell) file(services string) string {
	return fmt.Sprintf("%s\nservices:\n%s\n", strings.NewReplacer("${host}", c.Host, "${dir}", c.dir).Replace(c.Globals), services)
}

// Write writes, or replaces, the content that {file: '${dir}/NAME'}, cert_file: '${dir}/NAME' and key_file: '${dir}/NAME'
// stand for in the configuration. For a custom resource it is a key of a Secret.
func (c *Cell) Write(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if c.Source == Object {
		c.writeSecret(t, name, content)
	}
}

// Remove removes what Write has written.
func (c *Cell) Remove(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(c.dir, name)); err != nil {
		t.Fatal(err)
	}
	if c.Source == Object {
		c.removeSecret(t, name)
	}
}

package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// caddyModule is the version of Caddy that is measured.
const caddyModule = "github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.9"

// oursProxy is our program: the given binary, or one built into dir from the source tree around the working directory.
func oursProxy(ctx context.Context, binary, dir string) (goProxy, error) {
	version := filepath.Base(binary)
	if binary == "" {
		gomod, err := goTool(ctx, "env", "GOMOD")
		if err != nil {
			return goProxy{}, err
		}
		binary = filepath.Join(dir, Ours)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/pingora-proxy")
		cmd.Dir = filepath.Dir(gomod)
		if out, err := cmd.CombinedOutput(); err != nil {
			return goProxy{}, fmt.Errorf("building our program: %w: %s", err, out)
		}
		version = revision(ctx, cmd.Dir)
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return goProxy{}, err
	}
	return goProxy{
		version: version,
		program: peers.Program{Name: Ours, Path: binary},
		env:     []string{"WORKER_THREADS=1"},
		args:    func(file string) []string { return []string{"--config", file} },
	}, nil
}

// caddyProxy is Caddy, built once into the cache.
func caddyProxy(ctx context.Context, dir string) (goProxy, error) {
	cache, err := peers.CacheDir()
	if err != nil {
		return goProxy{}, err
	}
	_, version, _ := strings.Cut(caddyModule, "@")
	bin := filepath.Join(cache, "go", "caddy-"+version)
	path := filepath.Join(bin, Caddy)
	if _, err := os.Stat(path); err != nil {
		// In an empty directory, so that our own go.mod has no say.
		cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", caddyModule)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return goProxy{}, fmt.Errorf("building Caddy with go install %s: %w: %s", caddyModule, err, out)
		}
	}
	return goProxy{
		version: "Caddy " + version + " (Go module)",
		program: peers.Program{Name: Caddy, Path: path},
		env:     []string{"GOMAXPROCS=1", "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir},
		args:    func(file string) []string { return []string{"run", "--config", file} },
	}, nil
}

// revision names the commit of a source tree.
func revision(ctx context.Context, dir string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil { // a source archive, or no git
		return "built from source"
	}
	return "commit " + strings.TrimSpace(string(out))
}

// goTool runs the go command and returns what it prints.
func goTool(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/configs"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// The proxies written in Go that are measured beside ours.
var (
	caddyModule   = peers.GoModule{Name: Caddy, Path: "github.com/caddyserver/caddy/v2", Package: "cmd/caddy", Version: "v2.11.9"}
	traefikModule = peers.GoModule{Name: Traefik, Path: "github.com/traefik/traefik/v3", Package: "cmd/traefik", Version: "v3.6.12"}
)

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
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
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
		file:    "ours.yaml",
		args:    func(path string, _ configs.Settings) []string { return []string{"--config", path} },
	}, nil
}

// onTwo is our program with two CPUs.
func onTwo(p goProxy) goProxy {
	p.env, p.cpus = []string{"WORKER_THREADS=2"}, 2
	return p
}

// relayProgram is the bare relay, built into dir.
func relayProgram(ctx context.Context, dir string) (goProxy, error) {
	path := filepath.Join(dir, Relay)
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/pingora-proxy/pingora-proxy/test/benchmarks/cmd/relay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return goProxy{}, fmt.Errorf("building the relay: %w: %s", err, out)
	}
	return goProxy{
		version: "test/benchmarks/cmd/relay, which hands bytes on and reads nothing in them",
		program: peers.Program{Name: Relay, Path: path},
		// Its one thread never comes back to the scheduler, and no signal needs to remind it.
		env:  []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"},
		args: func(_ string, set configs.Settings) []string { return []string{set.Listen, set.Origin} },
	}, nil
}

// buildGoPeers builds those that are to be measured. One that cannot be built is left out, and the report says why.
func (b *Bench) buildGoPeers(ctx context.Context) error {
	for _, m := range []peers.GoModule{caddyModule, traefikModule} {
		if !slices.Contains(b.opt.Contenders, m.Name) {
			continue
		}
		program, err := m.Find(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.versions[m.Name] = "not measured: " + m.Version + " could not be built from its Go module"
			b.progress("%s: not measured: %v", m.Name, err) // at length: it tells where modules come from on this machine
			b.opt.Contenders = slices.DeleteFunc(slices.Clone(b.opt.Contenders), func(name string) bool { return name == m.Name })
			continue
		}
		p := goProxy{
			version: m.Version + " (" + program.Origin + ")", program: program,
			env: []string{"GOMAXPROCS=1", "HOME=" + b.dir, "XDG_CONFIG_HOME=" + b.dir, "XDG_DATA_HOME=" + b.dir},
		}
		if m.Name == Caddy {
			p.file, p.args = "caddy.json", func(path string, _ configs.Settings) []string { return []string{"run", "--config", path} }
		} else {
			p.file, p.args = "traefik-routes.yaml", traefikArgs
		}
		b.goPeers[m.Name] = p
	}
	return nil
}

// traefikArgs are its static configuration; the file holds its routes. One called traefik.yaml it would read as the former.
func traefikArgs(path string, set configs.Settings) []string {
	return []string{
		"--entrypoints.bench.address=" + set.Listen, "--providers.file.filename=" + path, "--providers.file.watch=false", "--log.level=ERROR",
		"--global.checknewversion=false", "--global.sendanonymoususage=false",
	}
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

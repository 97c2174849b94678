package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/configs"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/material"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/origin"
)

// The names of the contenders.
const (
	Ours    = "pingora-proxy"
	Nginx   = "nginx"
	HAProxy = "haproxy"
	Caddy   = "caddy"
	Traefik = "traefik"
	// Relay reads nothing of what it hands on.
	Relay = "relay"
	// OursTwo is ours on two CPUs, in the row that compares that.
	OursTwo = Ours + "-2-cores"

	// HAProxySplice is HAProxy told to move bodies with splice(2), which its package's configuration does not ask for. Goals
	// refer to HAProxy as it is by default; this one stands beside it, in the rows with large bodies.
	HAProxySplice = "haproxy-splice"
)

// contender is a running proxy.
type contender struct {
	*peers.Process
	name  string
	addr  string
	admin string // of ours
	log   *material.LogFile
	stop  func() error
}

// start starts the contender called name for a row.
func (b *Bench) start(ctx context.Context, name string, row Row, originAddr string) (*contender, error) {
	c := &contender{name: name, stop: func() error { return nil }}
	set := configs.Settings{Origin: originAddr, Splice: splice(b.opt.Splice, row), Profile: b.opt.Profile != "", HTTP2: row.Streams > 0, GRPC: row.GRPC, Upload: row.Upload}
	if row.TLS {
		set.Pair, set.Cert, set.Key = b.secrets.Pair, b.secrets.Cert, b.secrets.Key
	}
	if err := b.feature(name, &set); err != nil {
		return nil, err
	}
	if row.AccessLog {
		log, err := material.NewLogFile(filepath.Join(b.dir, name+"-access.log"))
		if err != nil {
			return nil, err
		}
		c.log, set.AccessLog = log, log.Path
		c.stop = log.Remove
	}
	var err error
	switch name {
	case Nginx:
		err = b.startServer(ctx, c, set, "nginx.conf", peers.StartNginx)
	case HAProxy, HAProxySplice:
		if name == HAProxySplice {
			set.Splice = SpliceAlways
		}
		err = b.startServer(ctx, c, set, "haproxy.cfg", peers.StartHAProxy)
	case Caddy, Traefik:
		err = b.startProgram(ctx, c, set, b.goPeers[name])
	case Relay:
		err = b.startProgram(ctx, c, set, b.relay)
	case OursTwo:
		err = b.startProgram(ctx, c, set, onTwo(b.ours))
	default:
		err = b.startProgram(ctx, c, set, b.ours)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), c.stop())
	}
	return c, nil
}

// takesPart reports whether a contender is measured in a row.
func takesPart(name string, row Row) bool {
	switch name {
	case Caddy, Traefik:
		return row.GoPeers
	case Relay:
		return row.Relay
	case HAProxySplice:
		return row.large()
	default:
		return true
	}
}

// large reports whether a row has bodies that can be spliced.
func (r Row) large() bool { return r.Upload || origin.Size(r.Path) > spliced }

// spliced is HAProxy's buffer: what fits in is not spliced.
const spliced = 16 << 10

// splice returns how HAProxy splices in a row.
func splice(mode string, row Row) string {
	switch {
	case mode != SpliceBest:
		return mode
	case row.large():
		return SpliceAlways
	default:
		return SpliceAuto
	}
}

// startServer starts one of the C proxies.
func (b *Bench) startServer(ctx context.Context, c *contender, set configs.Settings, file string, start func(context.Context, peers.Config) (*peers.Server, error)) error {
	if _, err := set.Render(file); err != nil {
		return err
	}
	cfg := peers.Config{CPU: b.proxyCPU(), Text: func(addr, _ string) string {
		set.Listen = addr
		text, _ := set.Render(file) // rendered above with the same template
		return text
	}}
	if c.log != nil && c.name == HAProxy {
		// HAProxy does not open log files; its standard output is one.
		cfg.Global, cfg.Stdout = "log stdout len 4096 format raw local0", c.log.File
	}
	server, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	c.Process, c.addr = server.Process, server.Addr
	after := c.stop
	c.stop = func() error { return errors.Join(server.Stop(), after()) }
	return nil
}

// goProxy is a program written in Go: how it is run.
type goProxy struct {
	version string
	program peers.Program
	env     []string
	// file is its configuration's name, "" for none.
	file string
	// args are its arguments, path being where that file lies.
	args func(path string, set configs.Settings) []string
	// cpus are how many CPUs it has, 0 means 1.
	cpus int
}

// startProgram starts one of the programs written in Go, with one processor for its goroutines.
func (b *Bench) startProgram(ctx context.Context, c *contender, set configs.Settings, p goProxy) error {
	free, err := peers.FreeAddrs(3)
	if err != nil {
		return err
	}
	set.Listen, set.Admin, set.Metrics = free[0], free[1], free[2]
	dir, err := os.MkdirTemp(b.dir, strings.ReplaceAll(c.name, " ", "-")+"-")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, p.file)
	if p.file != "" {
		text, err := set.Render(p.file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	ready := peers.Dials(set.Listen)
	switch {
	case strings.HasPrefix(c.name, Ours):
		ready = peers.Answers("http://" + set.Admin + "/readyz")
	case c.name == Traefik: // it listens before it has its routes
		ready = peers.Answers("http://" + set.Listen + origin.Tiny)
	}
	process, err := peers.Start(ctx, peers.Spec{
		Program: p.program, Args: p.args(path, set), Dir: dir, Env: p.env, CPUs: b.cpus[len(b.cpus)-max(1, p.cpus):], Ready: ready,
	})
	if err != nil {
		return err
	}
	c.Process, c.addr, c.admin = process, set.Listen, set.Admin
	after := c.stop
	c.stop = func() error { return errors.Join(process.Stop(), after()) }
	return nil
}

// version returns the version of the contender called name for the report.
func (b *Bench) version(ctx context.Context, name string) (string, error) {
	switch name {
	case Nginx, HAProxy, HAProxySplice:
		program, err := peers.Find(ctx, strings.TrimSuffix(name, "-splice"))
		if err != nil {
			return "", err
		}
		line, err := program.FirstLine(ctx, "-v")
		line = strings.TrimPrefix(line, "nginx version: ")
		line, _, _ = strings.Cut(line, " - ")
		return line + " (" + program.Origin + ")", err
	case Caddy, Traefik:
		return b.goPeers[name].version, nil
	case Relay:
		return b.relay.version, nil
	default:
		return b.ours.version, nil
	}
}

package benchmarks

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

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

	// HAProxySplice is HAProxy told to move bodies with splice(2), which its package's configuration does not ask for. Goals
	// refer to HAProxy as it is by default; this one stands beside it, in the rows with large bodies.
	HAProxySplice = "haproxy-splice"
)

//go:embed configs/nginx.conf configs/haproxy.cfg configs/caddy.json configs/ours.yaml
var configFiles embed.FS

// settings fill in the configuration of a contender.
type settings struct {
	Listen, Origin string
	// AccessLog is the file of the access log, "" for none.
	AccessLog string
	// Splice says when HAProxy moves bodies with splice(2): always, auto or off.
	Splice string
	// Admin and Metrics are the addresses of ours for these.
	Admin, Metrics string
	// Profile lets ours serve profiles.
	Profile bool
	// Pair holds the certificate and its key, Cert the former and Key the latter alone; "" where clients speak no TLS.
	Pair, Cert, Key string
	// HTTP2 makes clients speak HTTP/2, and GRPC the origin too.
	HTTP2, GRPC bool
	// Globals, Service, Routes and Services are what a feature adds to the configuration of ours.
	Globals, Service, Routes, Services string
}

func (s settings) render(name string) (string, error) {
	t, err := template.ParseFS(configFiles, "configs/"+name)
	if err != nil {
		return "", err
	}
	s.Services = strings.ReplaceAll(s.Services, "{{.Listen}}", s.Listen)
	var b bytes.Buffer
	err = t.Execute(&b, s)
	return b.String(), err
}

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
	set := settings{Origin: originAddr, Splice: splice(b.opt.Splice, row), Profile: b.opt.Profile != "", HTTP2: row.Streams > 0, GRPC: row.GRPC}
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
	case Caddy:
		err = b.startProgram(ctx, c, set, "caddy.json", b.caddy)
	default:
		err = b.startProgram(ctx, c, set, "ours.yaml", b.ours)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), c.stop())
	}
	return c, nil
}

// takesPart reports whether a contender is measured in a row.
func takesPart(name string, row Row) bool {
	if row.Streams > 0 && name == Caddy { // its configuration here is for HTTP/1.1
		return false
	}
	return name != HAProxySplice || row.Idle == 0 && !row.AccessLog && origin.Size(row.Path) > spliced
}

// spliced is HAProxy's buffer: what fits in is not spliced.
const spliced = 16 << 10

// splice returns how HAProxy splices in a row.
func splice(mode string, row Row) string {
	switch {
	case mode != SpliceBest:
		return mode
	case origin.Size(row.Path) > spliced:
		return SpliceAlways
	default:
		return SpliceAuto
	}
}

// startServer starts one of the C proxies.
func (b *Bench) startServer(ctx context.Context, c *contender, set settings, file string, start func(context.Context, peers.Config) (*peers.Server, error)) error {
	if _, err := set.render(file); err != nil {
		return err
	}
	cfg := peers.Config{CPU: b.proxyCPU, Text: func(addr, _ string) string {
		set.Listen = addr
		text, _ := set.render(file) // rendered above with the same template
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

// goProxy is a proxy written in Go: how it is run with a configuration file.
type goProxy struct {
	version string
	program peers.Program
	env     []string
	args    func(file string) []string
}

// startProgram starts one of the Go proxies, with one processor for its goroutines.
func (b *Bench) startProgram(ctx context.Context, c *contender, set settings, file string, p goProxy) error {
	free, err := peers.FreeAddrs(3)
	if err != nil {
		return err
	}
	set.Listen, set.Admin, set.Metrics = free[0], free[1], free[2]
	text, err := set.render(file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, strings.ReplaceAll(c.name, " ", "-")+"-")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	ready := peers.Dials(set.Listen)
	if strings.HasPrefix(c.name, Ours) {
		ready = peers.Answers("http://" + set.Admin + "/readyz")
	}
	process, err := peers.Start(ctx, peers.Spec{
		Program: p.program, Args: p.args(path), Dir: dir, Env: p.env, CPU: b.proxyCPU, Ready: ready,
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
	case Caddy:
		return b.caddy.version, nil
	default:
		return b.ours.version, nil
	}
}

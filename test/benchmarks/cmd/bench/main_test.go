package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		args     string
		out      string
		rows     int
		peers    string
		rounds   int
		duration time.Duration
	}{
		{"", "docs/benchmarks.md", len(benchmarks.Rows), "pingora-proxy,nginx,haproxy,haproxy-splice,relay", 7, 5 * time.Second},
		{"-go-peers", "docs/benchmarks.md", len(benchmarks.Rows), "pingora-proxy,nginx,haproxy,haproxy-splice,relay,caddy,traefik", 7, 5 * time.Second},
		{"-smoke", "", 2, "pingora-proxy,nginx,haproxy,haproxy-splice,relay", 1, time.Second},
		{"-smoke -rows log -out x.md", "", 1, "pingora-proxy,nginx,haproxy,haproxy-splice,relay", 1, time.Second},
		{"-rows tiny64 -rounds 3", "", 1, "pingora-proxy,nginx,haproxy,haproxy-splice,relay", 3, 5 * time.Second},
		{"-rows tiny64 -out x.md", "x.md", 1, "pingora-proxy,nginx,haproxy,haproxy-splice,relay", 7, 5 * time.Second},
		{"-peers haproxy,nginx -duration 2s", "", len(benchmarks.Rows), "haproxy,nginx", 7, 2 * time.Second},
	} {
		f, err := parse(strings.Fields(tc.args))
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
			continue
		}
		if got := strings.Join(f.opt.Contenders, ","); f.out != tc.out || len(f.opt.Rows) != tc.rows || got != tc.peers ||
			f.opt.Rounds != tc.rounds || f.opt.Duration != tc.duration {
			t.Errorf("%q: got out %q, %d rows, contenders %s, %d rounds of %s", tc.args, f.out, len(f.opt.Rows), got, f.opt.Rounds, f.opt.Duration)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-rows tiny":            `no row "tiny"`,
		"-peers nginx,envoy":    `no proxy "envoy"`,
		"-peers nginx,nginx":    "nginx stands there twice",
		"-rounds 0":             "must be at least 1",
		"-duration 1500ms":      "must be whole seconds",
		"-duration 0s":          "must be whole seconds",
		"-haproxy-splice maybe": "must be best, always, auto or off",
		"-network elsewhere":    "must be own or host",
		"tiny64":                `unexpected argument "tiny64"`,
	} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}

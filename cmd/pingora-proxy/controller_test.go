package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// ending is a follower that ends in a way of the test's.
type ending func(ctx context.Context) error

func (e ending) Run(ctx context.Context) error { return e(ctx) }

func (ending) SetGlobals(settings.Globals, map[string]material.Content) {}

// A controller that ends by itself is a failure; one that a signal ends is not, whatever it says in the end.
func TestHowAControllerEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    ending
		signal bool
		want   string
	}{
		{"by itself", func(context.Context) error { return errors.New("watching the cluster: forbidden") }, false, "the controller has ended: watching the cluster: forbidden"},
		{"by a signal", func(ctx context.Context) error { <-ctx.Done(); return nil }, true, ""},
		{"by a signal, with an error", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := standalone.Options{GlobalsOnly: true, Flags: map[string]standalone.Flag{
				"admin.bind_address":   {Name: "--admin-bind-address", Value: "off"},
				"metrics.bind_address": {Name: "--metrics-bind-address", Value: "off"},
			}}
			loaded, problems := standalone.Load(options)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			metrics := telemetry.NewMetrics("test")
			p := &process{log: logr.Discard(), metrics: metrics, plane: dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: metrics})}
			p.control = newControl(p, telemetry.NewLevel(), "a test")
			signals := make(chan os.Signal, 1)
			if c.signal {
				signals <- syscall.SIGTERM
			}
			err := p.runCluster(options, loaded, c.run, signals)
			var failed *failure
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &failed) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

package main

import (
	"context"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

type control struct{}

func newControl(*process, *telemetry.Level, string) *control { return &control{} }
func (c *control) prepare(context.Context, *standalone.Loaded) (func(bool), error) {
	return func(bool) {}, nil
}
func (c *control) close() {}

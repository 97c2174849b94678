package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/lastgood"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// keep has the configuration written to the last good file.
func (c *Controller) keep(in translate.Input) {
	if c.keeper != nil {
		c.keeper.Keep(in)
	}
}

// serveLastGood serves the last good file if the API server does not answer soon, until it does.
func (c *Controller) serveLastGood(ctx context.Context) {
	if c.options.LastGood == "" {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-c.serving.first:
		return
	case <-time.After(patience):
	}
	written, err := c.applyLastGood(ctx)
	if err != nil {
		c.log.Error(err, "the API server does not answer, and there is no last good configuration to serve meanwhile")
		return
	}
	c.log.Info("the API server does not answer; the last good configuration serves, which may be stale", "written", written)
	c.options.Stale(written, true)
	select {
	case <-ctx.Done():
	case <-c.serving.first:
		c.log.Info("the configuration of the cluster serves again")
		c.options.Stale(time.Time{}, false)
	}
}

func (c *Controller) applyLastGood(ctx context.Context) (time.Time, error) {
	payload, written, err := lastgood.Read(c.options.LastGood)
	if err != nil {
		return written, err
	}
	var in translate.Input
	if err := json.Unmarshal(payload, &in); err != nil {
		return written, fmt.Errorf("%s: %w", c.options.LastGood, err)
	}
	in.Globals = *c.world.globals.Load()
	for i := range in.Services {
		in.Services[i].Faults = in.Services[i].Spec.Validate(field.NewPath("spec"), v1alpha1.FromCluster)
	}
	c.serving.order.Lock()
	defer c.serving.order.Unlock()
	select {
	case <-c.serving.first:
		return written, nil // the cluster was faster
	default:
	}
	snap, _ := translate.Translate(in)
	_, err = c.apply(ctx, snap)
	return written, err
}

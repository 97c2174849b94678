package controllers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/controllers/contents"
	"github.com/pingora-proxy/pingora-proxy/controllers/lastgood"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

// keep has the configuration written to the last good file.
func (c *Controller) keep(in translate.Input) {
	if c.keeper != nil {
		c.keeper.Keep(kept{Schema: keptSchema, Class: c.options.Class, Namespaces: c.options.Namespaces, Input: in})
	}
}

// keptSchema is the version of what is kept. Another version's file is not read: a field that this one does not know may
// be one that protects something.
const keptSchema = 2

// A kept is the content of the last good file.
type kept struct {
	Schema     int
	Class      string
	Namespaces []string
	Input      translate.Input
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
	in, err := c.readKept(payload)
	if err != nil {
		return written, fmt.Errorf("%s: %w", c.options.LastGood, err)
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

// readKept makes the input of what was kept. What this process was told with its flags counts, not what was kept of it.
func (c *Controller) readKept(payload []byte) (translate.Input, error) {
	var file kept
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return file.Input, err
	}
	in := file.Input
	switch {
	case file.Schema != keptSchema:
		return in, fmt.Errorf("it was written by another version of the program (schema %d, this one has %d)", file.Schema, keptSchema)
	case file.Class != c.options.Class || !slices.Equal(file.Namespaces, c.options.Namespaces):
		return in, fmt.Errorf("it belongs to class %q with the namespaces %q", file.Class, file.Namespaces)
	case in.World == nil:
		return in, errors.New("it says nothing of the cluster")
	}
	process := c.world.settings.Load()
	in.Globals, in.Contents = process.globals, process.contents
	in.World.Policy = c.options.Policy
	if slices.Contains(in.Services, nil) {
		return in, errors.New("it holds services that are null")
	}
	for _, s := range in.Services {
		s.Faults = check(&s.Spec, s.Name)
		if c.options.NoSecrets {
			s.Certificates = nil
			maps.DeleteFunc(s.Contents, func(_ string, c material.Content) bool { return strings.HasPrefix(c.Name, contents.Secret) })
			s.UpstreamCertificate = material.Certificate{}
		}
	}
	return in, nil
}

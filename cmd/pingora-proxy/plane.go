package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// plane is the data plane as package controllers wants it.
type plane struct {
	*dataplane.DataPlane
	ejections chan controllers.Ejection
}

// Apply implements controllers.DataPlane.
func (p *plane) Apply(ctx context.Context, s *snapshot.Snapshot) error {
	err := p.DataPlane.Apply(ctx, s)
	var failed *dataplane.BindError
	if errors.As(err, &failed) {
		return &unbound{failed}
	}
	return err
}

// unbound is a BindError whose failures can be told apart without knowing its package.
type unbound struct{ *dataplane.BindError }

// Unbound lists the addresses, and why each cannot be had.
func (u *unbound) Unbound() map[string]error {
	out := make(map[string]error, len(u.Failures))
	for _, f := range u.Failures {
		out[f.Address] = f.Err
	}
	return out
}

// Health implements controllers.DataPlane. An endpoint that several clusters of a service have counts once.
func (p *plane) Health() map[string]controllers.Health {
	type seen struct {
		service string
		addr    netip.AddrPort
	}
	serving := map[seen]bool{}
	for _, c := range p.Clusters() {
		for _, e := range c.Endpoints {
			if e.Weight > 0 {
				key := seen{c.Service, e.Addr}
				serving[key] = serving[key] || e.Serving
			}
		}
	}
	out := map[string]controllers.Health{}
	for key, ok := range serving {
		h := out[key.service]
		h.Total++
		if ok {
			h.Healthy++
		}
		out[key.service] = h
	}
	return out
}

// Ejections implements controllers.DataPlane.
func (p *plane) Ejections() <-chan controllers.Ejection { return p.ejections }

// ejected is told of by the data plane. What nobody reads in time is dropped.
func (p *plane) ejected(cluster string, endpoint netip.AddrPort) {
	owner, _, _ := strings.Cut(cluster, "|")
	select {
	case p.ejections <- controllers.Ejection{Service: owner, Endpoint: endpoint}:
	default:
	}
}

// refuseLocal is the policy for every connection to an endpoint in a cluster, whatever name led there.
func refuseLocal(addr netip.Addr) error {
	if translate.Local(addr) {
		return fmt.Errorf("%s is an address of the proxy's own machine or its link; --allow-local-addresses allows those", addr)
	}
	return nil
}

package controllers

import (
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

// Options say what a Controller serves, and as whom.
type Options struct {
	Config *rest.Config
	Log    logr.Logger
	Plane  DataPlane

	Globals    settings.Globals            // with their defaults
	Contents   map[string]material.Content // what they refer to, by the paths of their fields
	Class      string                      // of the objects to serve
	Namespaces []string                    // to watch; none: all
	Policy     realm.Policy
	NoSecrets  bool // no Secret may be read: objects that name one do without a certificate

	Namespace       string // where this process runs: its Leases are there
	Replica         string // name of this process, unique in Namespace
	PodName, PodUID string // of the Pod that this process runs in, if it does

	Publish  types.NamespacedName // the proxy's own Service; empty: its ports are nobody's business here
	LastGood string               // file that keeps the last configuration; empty: none

	// Reloaded is told how each configuration fared.
	Reloaded func(err error)
	// Stale is told when what serves comes from LastGood, and when no more.
	Stale func(since time.Time, stale bool)
}

const (
	// settle is for how long changes are gathered before they are translated together: an apply of many objects is one
	// configuration, and a single change is not held up noticeably.
	settle = 20 * time.Millisecond
	// bindAgain is how often addresses are tried again that could not be bound.
	bindAgain = 5 * time.Second
	// patience is how long a start waits for the API server before the last good file serves.
	patience = time.Second
	// askTimeout is how long one answer of the API server is waited for. One that hangs must not hold up what needs no answer.
	askTimeout = 5 * time.Second
	// maxPorts is how many ports the proxy's own Service gets at most. Each may cost a node port, of which the whole cluster has
	// a few thousand, and load balancers take fewer.
	maxPorts = 128
	// tick is how often the leader counts endpoints, and replicas look at the versions of objects whose status alone changed.
	tick = 2 * time.Second
)

package status

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// An Object is one ProxyService of this installation and what became of it.
type Object struct {
	Key        types.NamespacedName
	UID        types.UID
	Generation int64
	Version    uint64   // the smallest resourceVersion that is known to hold this generation
	Hash       string   // of the spec alone
	Routes     []string // their names, in the order of the spec

	Problems  []translate.Problem // its own; the first of a kind decides the reason
	Holds     []Hold              // what it keeps from others
	Listening bool                // it has a listener, so that a part of it at least is served
	Listener  string              // the address of that, as replicas name it

	Healthy, Total int      // endpoints
	Addresses      []string // where clients reach it
}

// A Hold is something that another object wanted and did not get, because this one has it.
type Hold struct {
	Route   string // of this object; empty: the object as a whole
	Message string // what was wanted
	Other   string // who wanted it, namespace/name
}

// A Replica is one that takes traffic.
type Replica struct {
	Name    string
	Version uint64 // the resourceVersion that it serves
	Unbound string // the listeners that it could not open, with commas between them
}

func (o *Object) equal(other *Object) bool {
	return o.UID == other.UID && o.Generation == other.Generation && o.Version == other.Version && o.Hash == other.Hash &&
		o.Listening == other.Listening && o.Listener == other.Listener && o.Healthy == other.Healthy && o.Total == other.Total &&
		slices.Equal(o.Routes, other.Routes) && slices.Equal(o.Problems, other.Problems) &&
		slices.Equal(o.Holds, other.Holds) && slices.Equal(o.Addresses, other.Addresses)
}

// programmed counts the replicas that serve the object's generation.
func (o *Object) programmed(replicas []Replica) int {
	n := 0
	for _, r := range replicas {
		unbound := o.Listener != "" && slices.Contains(strings.Split(r.Unbound, ","), o.Listener)
		if r.Version >= o.Version && !unbound {
			n++
		}
	}
	return n
}

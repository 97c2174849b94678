package upstream

import (
	"net/netip"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// An endpoint that no request was sent to has no pools, whatever else happens to it, and one that is removed before its first
// request keeps no connection.
func TestEndpointWithoutTraffic(t *testing.T) {
	cs := New(Options{Loops: 2})
	cluster := func(addr string) []*snapshot.Cluster {
		return []*snapshot.Cluster{{ID: "c", Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort(addr), Weight: 1}}}}
	}
	cs.Apply(cluster("127.0.0.1:1"))
	defer cs.Close()
	e := cs.Get("c").Endpoints()[0]
	cs.sweep()
	e.renewConns()
	e.Checked(nil)
	if s := cs.Status(); s[0].Endpoints[0].Idle != 0 || s[0].Endpoints[0].Latency.Count != 0 {
		t.Errorf("its status is %+v", s[0].Endpoints[0])
	}
	if e.used.Load() != nil {
		t.Error("it has pools already")
	}
	cs.Apply(cluster("127.0.0.1:2"))
	if idle := &e.traffic().idle; !idle.closed || !e.traffic().looped[1].closed {
		t.Error("it was removed, and its pools are open")
	}
	if first := e.traffic(); e.traffic() != first || len(first.looped) != 2 {
		t.Error("it has other pools each time")
	}
}

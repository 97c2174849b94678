package accesslog

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served returns an exchange as an ordinary request leaves it.
func served() *exchange.Exchange {
	x := &exchange.Exchange{ClientIP: netip.MustParseAddr("192.0.2.7"), RequestID: []byte("0123456789abcdef0123456789abcdef")}
	x.Request.Method, x.Request.MethodName, x.Request.Protocol = exchange.GET, []byte("GET"), exchange.HTTP11
	x.Request.Host, x.Request.Path, x.Request.RawPath = []byte("shop.example"), []byte("/cart/items"), []byte("/cart/items")
	x.Request.Query, x.Request.HasQuery = []byte("token=canary"), true
	ms := exchange.Nanos(time.Millisecond)
	x.Record = exchange.Record{
		Start: 1000 * ms, Connect: ms / 4, UpstreamStart: 1001 * ms, UpstreamHead: 1003 * ms, End: 1004*ms + 567*ms/1000,
		Status: 200, UpstreamStatus: 200, Attempts: 1, BytesIn: 12, BytesOut: 3456,
		Service: "shop", Route: "cart", Upstream: netip.MustParseAddrPort("10.0.0.3:8080"),
	}
	return x
}

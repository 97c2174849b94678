package conformance

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/readers"
)

// disagreements compares what differing readers make of a request that reached an endpoint.
func disagreements(m *message, laxnesses []readers.Laxness) []string {
	want := readers.Reading{Method: m.method, Target: m.target, Host: m.get("Host")[0], Body: string(m.body)}
	return readers.Requests(m.raw, want, laxnesses)
}

// TestReadersDisagree shows that the oracle can fail: each laxness reads something else than another reader in at least
// one row.
func TestReadersDisagree(t *testing.T) {
	t.Parallel()
	rows := corpus()
	for i := range readers.LaxnessCount {
		lax := readers.Laxness(1 << i)
		t.Run(lax.String(), func(t *testing.T) {
			t.Parallel()
			for _, r := range rows {
				raw := []byte(strings.Join(r.send, ""))
				strict, strictErr := readers.ReadRequest(raw, 0)
				loose, looseErr := readers.ReadRequest(raw, lax)
				if looseErr == nil && (strictErr != nil || strict != loose) {
					return
				}
			}
			t.Errorf("no row of the corpus is read otherwise with %v: the corpus or the reader misses it", lax)
		})
	}
}

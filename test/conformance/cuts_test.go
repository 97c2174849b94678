package conformance

import (
	"errors"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

// TestCutsDoNotMatter parses the first head of every row as it would arrive byte by byte, and cut in two at every place:
// the verdict is that on the whole.
func TestCutsDoNotMatter(t *testing.T) {
	t.Parallel()
	limits := codec.Limits{RequestLine: maxRequestLine, Bytes: maxHeaderBytes, Fields: maxHeaders}
	// parse returns what the engine makes of raw when it arrives in pieces that end at the given places.
	parse := func(raw []byte, ends func(after int) int) (size, status int) {
		var r exchange.Request
		scanned := 0
		for at := 0; at < len(raw); {
			at = min(ends(at), len(raw))
			n, err := codec.ParseRequest(&r, raw[:at], scanned, limits)
			var refused *codec.HeadError
			if errors.As(err, &refused) {
				return 0, refused.Status
			}
			if n > 0 {
				return n, 0
			}
			scanned = at
		}
		return 0, 0
	}
	for _, r := range corpus() {
		raw := []byte(r.send[0])
		if len(raw) > 2000 {
			continue // cut in two at every place that takes too long; TestCorpus cuts it at random
		}
		size, status := parse(raw, func(int) int { return len(raw) })
		check := func(how string, at, gotSize, gotStatus int) {
			if gotSize != size || gotStatus != status {
				t.Errorf("%s/%s, %s %d: a head of %d bytes, status %d, instead of %d and %d", r.class, r.name, how, at, gotSize, gotStatus, size, status)
			}
		}
		s, e := parse(raw, func(after int) int { return after + 1 })
		check("byte by byte", 1, s, e)
		for at := 1; at < len(raw); at++ {
			s, e := parse(raw, func(after int) int {
				if after < at {
					return at
				}
				return len(raw)
			})
			check("cut at", at, s, e)
		}
	}
}

package load

import (
	"strings"
	"testing"
	"time"
)

const h2loadOutput = `starting benchmark...
finished in 1.00s, 16712.00 req/s, 1.04MB/s
requests: 16712 total, 16968 started, 16712 done, 16711 succeeded, 1 failed, 0 errored, 2 timeout
status codes: 16710 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 1.04MB (1086324) total, 81.60KB (83560) headers (space savings 96.15%), 522.25KB (534784) data
`

func TestParseH2load(t *testing.T) {
	l, err := ParseH2load(h2loadOutput, 2*time.Second)
	want := Load{Requests: 16711, DurationUS: 2e6, Bytes: 534784, Read: 1, Timeout: 2, Status: 1}
	if err != nil || l != want {
		t.Errorf("%+v %v", l, err)
	}
	for _, line := range []string{"requests:", "status codes:", "traffic:"} {
		if _, err := ParseH2load(strings.Replace(h2loadOutput, line, "?", 1), time.Second); err == nil {
			t.Errorf("a summary without %q is taken", line)
		}
	}
}

package benchmarks

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
	l, err := parseH2load(h2loadOutput, 2*time.Second)
	want := load{Requests: 16711, DurationUS: 2e6, Bytes: 534784, Read: 1, Timeout: 2, Status: 1}
	if err != nil || l != want {
		t.Errorf("%+v %v", l, err)
	}
	for _, line := range []string{"requests:", "status codes:", "traffic:"} {
		if _, err := parseH2load(strings.Replace(h2loadOutput, line, "?", 1), time.Second); err == nil {
			t.Errorf("a summary without %q is taken", line)
		}
	}
}

func TestVariantsAreConfigured(t *testing.T) {
	b := &Bench{spans: &spanSink{addr: "127.0.0.1:4318"}}
	for _, name := range variants() {
		set := settings{Listen: "127.0.0.1:80", Origin: "127.0.0.1:81"}
		if err := b.feature(name, &set); err != nil {
			t.Error(err)
		}
		text, err := set.render("ours.yaml")
		if err != nil || strings.Contains(text, "{{") || name != Ours && set.Globals+set.Service+set.Routes == "" {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if b.feature(Ours+" nonsense", &settings{}) == nil {
		t.Error("an unknown feature is measured")
	}
}

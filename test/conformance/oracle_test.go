package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// disagreements compares what differing readers make of a request that reached an endpoint: net/http, and the lenient
// reader with each laxness, each pair, and all of them that go together. It returns where they differ.
func disagreements(m *message) (problems []string) {
	want := reading{m.method, m.target, m.get("Host")[0], string(m.body), len(m.raw)}
	got, err := readStandard(m.raw)
	if err != nil || got != want {
		problems = append(problems, fmt.Sprintf("net/http reads %+v, %v", got, err))
	}
	for i := range laxnessCount {
		for j := range i + 1 {
			lax := laxness(1<<i | 1<<j)
			if lax&ignoredLength != 0 && len(m.body) > 0 {
				continue // an endpoint that ignores Content-Length is out of step with everybody
			}
			if got, err := read(m.raw, lax); err != nil || got != want {
				problems = append(problems, fmt.Sprintf("with %v: %+v, %v", lax, got, err))
			}
		}
	}
	return problems
}

// readStandard reads a request as net/http does.
func readStandard(raw []byte) (reading, error) {
	source := bytes.NewReader(raw)
	in := bufio.NewReader(source)
	r, err := http.ReadRequest(in)
	if err != nil {
		return reading{}, err
	}
	body, err := io.ReadAll(r.Body)
	// The end of the trailer is read with the body.
	used := len(raw) - source.Len() - in.Buffered()
	return reading{r.Method, r.RequestURI, r.Host, string(body), used}, err
}

// TestReadersDisagree shows that the oracle can fail: each laxness reads something else than another reader in at least
// one row that must be refused.
func TestReadersDisagree(t *testing.T) {
	t.Parallel()
	var refused [][]byte
	for _, r := range corpus() {
		if len(r.want.requests) == 0 {
			refused = append(refused, []byte(strings.Join(r.send, "")))
		}
	}
	for i := range laxnessCount {
		lax := laxness(1 << i)
		t.Run(lax.String(), func(t *testing.T) {
			t.Parallel()
			for _, raw := range refused {
				strict, strictErr := read(raw, 0)
				loose, looseErr := read(raw, lax)
				if looseErr == nil && (strictErr != nil || strict != loose) {
					return
				}
			}
			t.Errorf("no refused row of the corpus is read otherwise with %v: the corpus or the reader misses it", lax)
		})
	}
}

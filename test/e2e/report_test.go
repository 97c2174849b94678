package e2e

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	doc "github.com/pingora-proxy/pingora-proxy/test/report"
)

// A report is what goes into docs/reliability.md.
type report struct {
	kubernetes string
	rows       []row
}

// A row is what became of the requests of one load.
type row struct {
	what, entry      string
	gets, getsLost   int
	posts, postsLost int
	twice            int // POSTs
	may              loss
}

// newReport takes what `kubectl version --output=json` says.
func newReport(version string) *report {
	var v struct {
		Server struct {
			Version string `json:"gitVersion"`
		} `json:"serverVersion"`
	}
	_ = json.Unmarshal([]byte(version), &v) // the report then says nothing of it
	return &report{kubernetes: v.Server.Version}
}

func (r *report) add(row row) { r.rows = append(r.rows, row) }

func (r *report) write(t *testing.T, path string) {
	t.Helper()
	if err := doc.Replace(path, "e2e", r.text()); err != nil {
		t.Error(err)
	}
}

func (r *report) text() string {
	var b strings.Builder
	b.WriteString(`
Written by ` + "`make e2e`" + `, which installs the Helm chart with two replicas on a cluster of three nodes, sends GETs and POSTs of 1 KiB from
outside the cluster, and counts. One case alone: ` + "`make e2e TEST_FLAGS='-run TestCluster/drain'`" + `, with the names of
` + "`test/e2e/main_test.go`" + `.

A request counts as lost when the client got anything but a whole 200 to this very request: a refused or broken connection, another status, no
answer for 20 seconds. No request is repeated by the clients, a tenth of them use a connection of their own, and the upstreams tell a ledger
outside the cluster of each request that reaches them: a POST that two of them have received, or one of them twice, would show under *twice*.
What else differs from a plain installation is in ` + "`test/e2e/testdata`" + `.

Through *NodePort* a request enters at a node that stays, and kube-proxy picks a replica. When a node is lost without notice, kube-proxy goes on
sending to the replica there until the cluster has noticed, 40 to 50 seconds later: such requests never reach a proxy that could
answer them. *One replica* is a Service with ` + "`externalTrafficPolicy: Local`" + `, which leads to the replica on one node
and to no other: its counts are the proxy's own.

| what happens | through | GETs | lost | POSTs | lost | twice | may be lost |
|---|---|---:|---:|---:|---:|---:|---|
`)
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %d | %s | %d | %s |\n", row.what, row.entry, row.gets, count(row.getsLost), row.posts, count(row.postsLost),
			row.twice, row.may.text())
	}
	fmt.Fprintf(&b, "\nKubernetes %s, its nodes containers of one machine with %d CPUs.\n", r.kubernetes, runtime.NumCPU())
	return b.String()
}

// count makes what is not 0 stand out.
func count(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("**%d**", n)
}

func (l loss) text() string {
	if l.gets == 0 && l.posts == 0 {
		return "nothing"
	}
	var bounds []string
	for _, b := range []struct {
		n    int
		what string
	}{{l.gets, "GETs"}, {l.posts, "POSTs"}} {
		if b.n > 0 {
			bounds = append(bounds, fmt.Sprintf("%d %s", b.n, b.what))
		}
	}
	if len(bounds) == 0 {
		return l.why
	}
	return "at most " + strings.Join(bounds, " and ") + ", " + l.why
}

// What was lost stands out, and beside it what may be.
func TestReport(t *testing.T) {
	r := newReport(`{"serverVersion": {"gitVersion": "v1.2.3"}}`)
	r.add(row{what: "nothing happens", entry: "NodePort", gets: 5, posts: 6})
	r.add(row{what: "something", entry: "one replica", gets: 5, posts: 6, postsLost: 2, twice: 1, may: loss{posts: 3, why: "which were under way"}})
	r.add(row{what: "anything", entry: "NodePort", gets: 5, getsLost: 4, may: loss{gets: -1, posts: -1, why: "what nobody answers"}})
	text := r.text()
	for _, want := range []string{
		"\n| nothing happens | NodePort | 5 | 0 | 6 | 0 | 0 | nothing |\n",
		"\n| something | one replica | 5 | 0 | 6 | **2** | 1 | at most 3 POSTs, which were under way |\n",
		"\n| anything | NodePort | 5 | **4** | 0 | 0 | 0 | what nobody answers |\n",
		"v1.2.3", "make e2e",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

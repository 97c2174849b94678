package controlside

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// TestRun tries the whole measurement with a few services, and judges no time: a change of one of them leaves the others as
// they were and allocates a fraction of what all cost.
func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Options{
		Binary: harness.Binary(t), Services: 200, Changes: 3, Quiet: 100 * time.Millisecond, Rate: 50, Checks: true, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Reused != r.Services-1 || r.ServiceBytes > r.WholeBytes/3 {
		t.Errorf("after a change of one of %d services %d were as before; it allocated %d bytes, all of them %d", r.Services, r.Reused, r.ServiceBytes, r.WholeBytes)
	}
	if r.Resident == 0 || r.Start == 0 || r.Service == 0 || r.All == 0 || r.QuietP99 == 0 || r.OneEndpoint == 0 {
		t.Errorf("not everything was measured: %+v", r)
	}
	report := filepath.Join(t.TempDir(), "report.md")
	if err := os.WriteFile(report, []byte("a\n"+begin+"\nstale figures\n"+end+"\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(report, Markdown([]*Result{r}, "0")); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(report)
	if s := string(text); !strings.HasPrefix(s, "a\n"+begin) || !strings.HasSuffix(s, end+"\nb\n") || strings.Contains(s, "stale figures") || !strings.Contains(s, "| 200, TCP checks |") {
		t.Errorf("the report is %q", s)
	}
}

package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("E2E") != "1" {
		fmt.Fprintln(os.Stderr, "test/e2e: E2E=1 is not set, so only what needs no cluster is tested; `make e2e` does the rest")
		if err := flag.Set("test.skip", "^TestCluster$"); err != nil {
			panic(err)
		}
	}
	os.Exit(harness.Main(m))
}

// TestCluster runs the scenarios one after the other, on one cluster. Each one makes sure of what it needs.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	scenarios := []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"install", testInstall},
		{"scale", testScale},
		{"pods", testPods},
		{"rollout", testRollout},
		{"proxies", testProxies},
		{"drain", testDrain},
		{"stop", testStop},
		{"partition", testPartition},
		{"apiserver", testAPIServer},
		{"objects", testObjects},
		{"secret", testSecret},
		{"upgrade", testUpgrade},
		{"uninstall", testUninstall},
		{"kustomize", testKustomize},
	}
	ran := 0
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			ran++
			s.run(t, c)
		})
	}
	if ran == len(scenarios) {
		c.report.write(t, "../../docs/reliability.md")
	}
}

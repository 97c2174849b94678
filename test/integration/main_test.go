package integration_test

import (
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) {
	kube.Fetch("nginx", "redis-server", "promtool")
	os.Exit(kube.Main(m))
}

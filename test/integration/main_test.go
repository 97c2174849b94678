package integration_test

import (
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

package integration_test

import (
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

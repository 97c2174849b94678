package conformance

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Rows mostly wait, for a connection to end or an origin to be done: more of them than there are cores run at once.
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(harness.Main(m))
}

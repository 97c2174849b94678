package scale

import (
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // it complains when there is none
	os.Exit(kube.Main(m))
}

// A size is how much there is to measure.
type size struct {
	services   int // ProxyServices, each with a Service of its own
	pods       int // of all Services
	nodes      int
	namespaces int
	endpoints  int // changes of endpoints that are measured
	changes    int // changes of a ProxyService that are measured
	writes     int // changes of a ProxyService whose writes are counted
	// quiet is how long nothing is written when nothing more is to come; where figures are wanted, longer than any delay of
	// the controller.
	quiet time.Duration
}

// full says whether figures are wanted, and not only that the measurement works.
func full() bool { return os.Getenv("SCALE") != "" }

func wanted() size {
	if full() {
		return size{services: 1000, pods: 5000, nodes: 50, namespaces: 10, endpoints: 400, changes: 400, writes: 50, quiet: 8 * time.Second}
	}
	return size{services: 20, pods: 60, nodes: 2, namespaces: 2, endpoints: 5, changes: 5, writes: 3, quiet: time.Second}
}

package reliability

import (
	"os"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// scenarios are all cases, in the order of the report.
var scenarios = []scenario{
	reloads,
	upgrade,
	churn,
	names,
	kill,
	hang,
	reset,
	truncate,
	garbage,
	slow,
	stop,
	overload,
	logFull,
	logPipe,
	dns,
	descriptorsGone,
	clock,
	redisGone,
	collectorGone,
	slowClients,
	slowhttptest,
	idle,
	storm,
	bombs,
	soak,
}

func TestCases(t *testing.T) {
	form := newForm(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if !form.long && !s.alone {
				t.Parallel()
			}
			s.try(t, form)
		})
	}
}

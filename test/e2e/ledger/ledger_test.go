package ledger_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/test/e2e/ledger"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestField(t *testing.T) {
	if ledger.Field != harness.LoadID {
		t.Errorf("%s is not %s", ledger.Field, harness.LoadID)
	}
}

// What two upstreams have received is in the book when their writers are closed, and a request that both have is told.
func TestReceivedByTwo(t *testing.T) {
	book, err := ledger.Open("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	a, b := ledger.NewWriter(book.Addr()), ledger.NewWriter(book.Addr())
	a.Note("POST", "1", "/x")
	b.Note("POST", "1", "/x")
	b.Note("POST", "2", "/x")
	b.Note("GET", "2", "/x")
	b.Note("POST", "2", "/y")
	for _, w := range []*ledger.Writer{a, b} {
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		method, target  string
		received, twice int
	}{{"POST", "/x", 2, 1}, {"GET", "/x", 1, 0}, {"POST", "/y", 1, 0}, {"GET", "/y", 0, 0}} {
		harness.Eventually(t, c.method+" "+c.target, func() bool {
			received, twice := book.Received(c.method, c.target)
			return received == c.received && twice == c.twice
		})
	}
}

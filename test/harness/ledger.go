package harness

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// LoadID is the field that carries the id of a Load's request.
const LoadID = "X-Load-Id"

// ledgerVariable tells an origin process the file of its ledger.
const ledgerVariable = "PINGORA_TEST_LEDGER"

// A Ledger is the list of the requests that origins have received, with each origin's name. It is a file, and so it
// outlives an origin that is killed.
type Ledger struct{ path string }

// NewLedger makes an empty ledger.
func NewLedger(t testing.TB) *Ledger {
	t.Helper()
	return &Ledger{path: filepath.Join(t.TempDir(), "ledger")}
}

// StartOriginProcess is StartOriginProcess for an origin that writes its requests into the ledger. Several origins may
// share one.
func (l *Ledger) StartOriginProcess(t testing.TB, name string) *OriginProcess {
	t.Helper()
	return startOriginProcess(t, name, ledgerVariable+"="+l.path)
}

// Echo is Echo for an origin of this process that writes its requests into the ledger.
func (l *Ledger) Echo(name string) http.Handler { return ledgered(l.path, Echo(name)) }

// ledgered writes a line into the file for every request that has an id, before it is answered. The request counts from
// its head on: one that is sent again must not have been seen by anybody.
func ledgered(path string, next http.Handler) http.Handler {
	if path == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get(LoadID); id != "" {
			err := note(path, r.Method, id)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Note writes down that an origin has received a request, for one that is no Echo.
func (l *Ledger) Note(method, id string) error { return note(l.path, method, id) }

func note(path, method, id string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(method + " " + id + "\n") // one write is whole also beside those of others
	return err
}

// Replayed lists the requests with the method that origins have received more than once, and how many it has at all.
func (l *Ledger) Replayed(t testing.TB, method string) (replayed []string, received int) {
	t.Helper()
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), method+" "); ok {
			received++
			if times[id]++; times[id] == 2 {
				replayed = append(replayed, id)
			}
		}
	}
	return replayed, received
}

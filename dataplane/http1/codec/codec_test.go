package codec

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// refusalStatus returns the status of a *HeadError, and 0 for nil.
func refusalStatus(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var refused *HeadError
	if !errors.As(err, &refused) {
		t.Fatalf("error is a %T, want a *HeadError: %v", err, err)
	}
	if refused.Reason == "" || refused.Detail == "" {
		t.Errorf("a refusal must say why: %+v", refused)
	}
	return refused.Status
}

// fieldsOf lists a header's fields as "Name: value".
func fieldsOf(h *exchange.Header) []string {
	fields := []string{}
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			fields = append(fields, string(name)+": "+string(value))
		}
	}
	return fields
}

// parseInPieces parses head as it arrives in pieces of the given size.
func parseInPieces(head string, size int, lim Limits) (*exchange.Request, int, error) {
	r := &exchange.Request{}
	for scanned, end := 0, 0; ; scanned = end {
		end = min(end+size, len(head))
		n, err := ParseRequest(r, []byte(head[:end]), scanned, lim)
		if n > 0 || err != nil || end == len(head) {
			return r, n, err
		}
	}
}

// seeds returns the files of a folder of test/fixtures/http1.
func seeds(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", "..", "test", "fixtures", "http1", folder, "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no seeds in %s: %v", folder, err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = data
	}
	return files
}

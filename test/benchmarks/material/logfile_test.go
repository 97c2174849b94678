package material

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogFileCountsLines(t *testing.T) {
	log, err := NewLogFile(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(log.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	lines := func(n int) {
		t.Helper()
		if _, err := io.WriteString(writer, strings.Repeat("{}\n", n)); err != nil {
			t.Fatal(err)
		}
	}
	lines(100)
	if err := log.Await(t.Context(), 100, time.Millisecond); err != nil {
		t.Error(err)
	}
	if err := log.Reset(); err != nil {
		t.Fatal(err)
	}
	lines(98)
	if err := log.Await(t.Context(), 100, time.Millisecond); err == nil || !strings.Contains(err.Error(), "98 lines for 100 requests") {
		t.Errorf("two lines in a hundred are missing: %v", err)
	}
	lines(1)
	if err := log.Await(t.Context(), 100, time.Millisecond); err != nil {
		t.Errorf("one line in a hundred is missing: %v", err)
	}
	if err := log.Remove(); err != nil {
		t.Error(err)
	}
}

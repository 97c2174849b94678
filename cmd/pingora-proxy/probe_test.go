package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/ready", r.URL.Path == "/late" && asked.Add(1) > 1:
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/ready", http.StatusFound)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(origin.Close)

	for name, c := range map[string]struct {
		url, timeout string
		code         int
		says         string
	}{
		"ready":            {origin.URL + "/ready", "1m", exitOK, "/ready: 204"},
		"ready in the end": {origin.URL + "/late", "1m", exitOK, "/late: 204"},
		"never ready":      {origin.URL + "/never", "2s", exitFailure, "the last answer was 503"},
		"a redirect":       {origin.URL + "/moved", "2s", exitFailure, "the last answer was 302"},
		"nobody there":     {"http://127.0.0.1:1", "2s", exitFailure, "connection refused"},
		"no URL":           {"127.0.0.1:9102/readyz", "1m", exitUsage, "must be a URL"},
		"another scheme":   {"file://localhost/etc/passwd", "1m", exitUsage, "must be a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			said := io.Writer(&out)
			if code := run([]string{"probe", "--timeout", c.timeout, c.url}, said, said); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, &out)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("it says %q, want %q in it", &out, c.says)
			}
		})
	}
}

package http1

import (
	"io"
	"testing"
)

// TestTornLooksTorn: a body that only the end of the connection delimits must not end in order where it breaks off. Over TLS
// too, for many readers take an end that nobody announced inside TLS for one that was.
func TestTornLooksTorn(t *testing.T) {
	for _, how := range []string{"tcp", "tls", "loop"} {
		t.Run(how, func(t *testing.T) {
			nc := newRig(t, ServerOptions{}).dial(how)
			if _, err := io.WriteString(nc, "GET /torn HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if all, err := io.ReadAll(nc); err == nil {
				t.Errorf("%q looks complete", all)
			}
		})
	}
}

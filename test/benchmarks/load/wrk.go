package load

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

//go:embed wrk.lua
var summaryScript []byte

//go:embed upload.lua
var uploadScript []byte

// Script makes wrk print its summary as one line of JSON and, with upload, send a body of 1 MiB with each request. It defines
// none of the functions that wrk calls for each request, so the load stays as cheap as without a script.
func Script(upload bool) []byte {
	if upload {
		return slices.Concat(uploadScript, summaryScript)
	}
	return summaryScript
}

// A Load is what a program that makes requests reports of one run.
type Load struct {
	Requests   int64 `json:"requests"`
	DurationUS int64 `json:"duration_us"`
	Bytes      int64 `json:"bytes"`
	Connect    int64 `json:"connect"`
	Read       int64 `json:"read"`
	Write      int64 `json:"write"`
	Timeout    int64 `json:"timeout"`
	Status     int64 `json:"status"`
	P50US      int64 `json:"p50_us"`
	P99US      int64 `json:"p99_us"`
}

// RPS is the number of requests per second.
func (l Load) RPS() float64 { return float64(l.Requests) / (float64(l.DurationUS) / 1e6) }

// Check returns an error when a request failed, or when fewer bytes came than bodies of size need: a proxy that answers
// wrongly must not look fast.
func (l Load) Check(size int) error {
	if n := l.Connect + l.Read + l.Write + l.Timeout; n > 0 {
		return fmt.Errorf("%d socket errors (connect %d, read %d, write %d, time-out %d)", n, l.Connect, l.Read, l.Write, l.Timeout)
	}
	if l.Status > 0 {
		return fmt.Errorf("%d of %d answers have a status over 399", l.Status, l.Requests)
	}
	if l.Requests == 0 || l.DurationUS <= 0 {
		return errors.New("no request was answered")
	}
	if l.Bytes < l.Requests*int64(size) {
		return fmt.Errorf("%d bytes came in %d answers, whose bodies alone are %d bytes each", l.Bytes, l.Requests, size)
	}
	return nil
}

// ParseWrk reads the line that Script prints after wrk's own output.
func ParseWrk(out string) (Load, error) {
	start := strings.LastIndex(out, "\n{")
	if start < 0 {
		return Load{}, fmt.Errorf("wrk printed no summary: %q", out)
	}
	var l Load
	if err := json.Unmarshal([]byte(out[start+1:]), &l); err != nil {
		return Load{}, fmt.Errorf("summary of wrk: %w", err)
	}
	return l, nil
}

package load

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var (
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatus   = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2loadTraffic  = regexp.MustCompile(`traffic: .*\((\d+)\) data`)
)

// ParseH2load reads what h2load prints. It knows no quantiles of the latency.
func ParseH2load(out string, d time.Duration) (Load, error) {
	requests, status, traffic := h2loadRequests.FindStringSubmatch(out), h2loadStatus.FindStringSubmatch(out), h2loadTraffic.FindStringSubmatch(out)
	if requests == nil || status == nil || traffic == nil {
		return Load{}, fmt.Errorf("h2load printed no summary: %q", out)
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64) // digits
		return n
	}
	return Load{
		Requests: number(requests[1]), DurationUS: d.Microseconds(), Bytes: number(traffic[1]),
		Read: number(requests[2]) + number(requests[3]), Timeout: number(requests[4]),
		Status: number(status[2]) + number(status[3]) + number(status[4]),
	}, nil
}

package load

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wrkOutput = `Running 1s test @ http://127.0.0.1:6188/tiny
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.05ms  305.51us  10.43ms   92.93%
    Req/Sec    60.51k     2.62k   63.74k    90.00%
  60190 requests in 1.00s, 10.68MB read
Requests/sec:  60149.30
Transfer/sec:     10.67MB

{"requests":60190,"duration_us":1000675,"bytes":11195340,"connect":0,"read":1,"write":2,"timeout":3,"status":4,"p50_us":1005,"p99_us":1668}
`

func TestParseWrk(t *testing.T) {
	got, err := ParseWrk(wrkOutput)
	if err != nil {
		t.Fatal(err)
	}
	want := Load{
		Requests: 60190, DurationUS: 1000675, Bytes: 11195340, Read: 1, Write: 2, Timeout: 3, Status: 4, P50US: 1005, P99US: 1668,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if rps := got.RPS(); rps < 60149 || rps > 60150 {
		t.Errorf("%v requests/s, wrk said 60149.30", rps)
	}
	for name, out := range map[string]string{
		"no summary":     "unable to connect to 127.0.0.1:6188 Connection refused\n",
		"broken summary": "\n{\"requests\":nan}\n",
	} {
		if _, err := ParseWrk(out); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckRefusesWhatIsNoSuccess(t *testing.T) {
	good := Load{Requests: 100, DurationUS: 1e6, Bytes: 100 * 200}
	if err := good.Check(32); err != nil {
		t.Errorf("good load: %v", err)
	}
	for _, tc := range []struct {
		spoil func(*Load)
		want  string
	}{
		{func(l *Load) { l.Connect = 1 }, "connect 1"},
		{func(l *Load) { l.Read = 2 }, "read 2"},
		{func(l *Load) { l.Write = 3 }, "write 3"},
		{func(l *Load) { l.Timeout = 4 }, "time-out 4"},
		{func(l *Load) { l.Status = 5 }, "5 of 100 answers have a status over 399"},
		{func(l *Load) { l.Requests = 0 }, "no request was answered"},
		{func(l *Load) { l.Bytes = 3199 }, "3199 bytes came in 100 answers"},
	} {
		bad := good
		tc.spoil(&bad)
		if err := bad.Check(32); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}

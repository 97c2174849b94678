package reliability

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// slowhttptest is a program that others have written to hold servers up.
var slowhttptest = scenario{
	name:  "slowhttptest",
	title: "slowhttptest beside 50 ordinary clients",
	run: func(t *testing.T, r *run) {
		program, err := peers.Find(t.Context(), "slowhttptest")
		if err != nil {
			t.Fatal(err)
		}
		ended := regexp.MustCompile(`Test ended on (\d+)`)
		for _, c := range []struct{ what, flag string }{
			{"slow heads (-H)", "-H"}, {"slow bodies (-B)", "-B"}, {"ranges (-R)", "-R"}, {"slow readers (-X)", "-X"},
		} {
			r.part(t, c.what, func(t *testing.T) {
				s := besiege(t, r, fmt.Sprintf("header_timeout_ms: %d", 1000*slowLimit), fmt.Sprintf("    timeouts: {idle_secs: %d}\n", slowLimit), answerEndlessly)
				clients := strconv.Itoa(r.of(150, 1500))
				seconds := r.of(5, 30)
				arguments := []string{c.flag, "-c", clients, "-r", clients, "-i", "1", "-l", strconv.Itoa(seconds), "-u", "http://" + s.plain + "/load"}
				if c.flag == "-X" {
					arguments = append(arguments, "-w", "10", "-y", "20", "-n", "1", "-z", "5")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds+30)*time.Second)
				out, err := program.Command(ctx, arguments...).CombinedOutput()
				cancel()
				if err != nil {
					t.Fatalf("slowhttptest %v: %v\n%s", arguments, err, out)
				}
				end := ended.FindSubmatch(out)
				if end == nil {
					t.Fatalf("slowhttptest %v:\n%s", arguments, out)
				}
				s.reports(t, r, c.what, fmt.Sprintf("%s clients for %s s", clients, end[1]), 32)
			})
		}
	},
}

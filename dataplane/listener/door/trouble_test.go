package door

import (
	"testing"
	"time"
)

// The log is told of a shortage once in a while, however often connections are accepted in between.
func TestShortageIsToldOfNowAndThen(t *testing.T) {
	var s shortage
	at := func(seconds int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second) }
	for i, step := range []struct {
		second       int
		failed, want bool
	}{
		{0, true, true},
		{1, true, false},
		{2, false, false},
		{20, true, false},
		{31, true, true},
		{32, false, false},
		{50, true, false},
		{79, false, false},
		{81, false, true},
		{82, true, true},
	} {
		var got bool
		if step.failed {
			got = s.begins(at(step.second))
		} else {
			got = s.ends(at(step.second))
		}
		if got != step.want {
			t.Errorf("step %d, %+v: %t", i, step, got)
		}
	}
}

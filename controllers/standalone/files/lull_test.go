package files

import (
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestLull(t *testing.T) {
	var l Lull
	begun := time.Now()
	for _, step := range []struct {
		at   time.Duration
		op   fsnotify.Op
		want time.Duration
	}{
		{0, fsnotify.Write, Settle},
		{5 * time.Millisecond, fsnotify.Create, Settle - 5*time.Millisecond}, // what is being written has its time
		{Settle, fsnotify.Create, settleWhole},
		{patience - time.Millisecond, fsnotify.Write, time.Millisecond}, // and then they are looked at, quiet or not
	} {
		if got := l.Wait(begun.Add(step.at), fsnotify.Event{Op: step.op}); got != step.want {
			t.Errorf("after %v: %v, want %v", step.at, got, step.want)
		}
	}
}

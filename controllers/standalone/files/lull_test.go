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
		at    time.Duration
		op    fsnotify.Op
		draft bool
		want  time.Duration
	}{
		{0, fsnotify.Write, false, Settle},
		{5 * time.Millisecond, fsnotify.Create, false, Settle - 5*time.Millisecond}, // what is being written has its time
		{Settle, fsnotify.Create, false, settleWhole},
		{2 * Settle, fsnotify.Write, true, settleWhole},
		{patience - time.Millisecond, fsnotify.Write, false, time.Millisecond}, // and then they are looked at, quiet or not
	} {
		if got := l.Wait(begun.Add(step.at), fsnotify.Event{Op: step.op}, step.draft); got != step.want {
			t.Errorf("after %v: %v, want %v", step.at, got, step.want)
		}
	}
}

package files

import (
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestLull(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		at   time.Duration
		name string
		op   fsnotify.Op
		want time.Duration
	}
	for name, steps := range map[string][]step{
		"written in steps": {
			{0, "a", fsnotify.Write, Settle},
			{20 * ms, "a", fsnotify.Write, Settle},
			{25 * ms, "b", fsnotify.Create, Settle - 5*ms}, // what is being written has its time
			{200 * ms, "b", fsnotify.Create, settleWhole},
		},
		"written beside its place": {
			{0, ".a", fsnotify.Create, settleWhole},
			{1 * ms, ".a", fsnotify.Write, Settle},
			{2 * ms, ".a", fsnotify.Rename, settleWhole},
			{2 * ms, "a", fsnotify.Create, settleWhole},
		},
		"beside one that is being written": {
			{0, "b", fsnotify.Write, Settle},
			{1 * ms, ".a", fsnotify.Write, Settle},
			{2 * ms, ".a", fsnotify.Rename, Settle - 2*ms},
			{2 * ms, "a", fsnotify.Create, Settle - 2*ms},
			{3 * ms, "b", fsnotify.Remove, settleWhole},
		},
		"written and renamed long before": {
			{0, ".a", fsnotify.Write, Settle},
			{1 * ms, "b", fsnotify.Write, Settle},
			{2 * ms, ".a", fsnotify.Rename, Settle - ms},
		},
		"never quiet": {
			{0, "a", fsnotify.Write, Settle},
			{patience - ms, "a", fsnotify.Write, ms}, // and then they are looked at, quiet or not
		},
	} {
		var l Lull
		begun := time.Now()
		for i, s := range steps {
			if got := l.Wait(begun.Add(s.at), fsnotify.Event{Name: s.name, Op: s.op}); got != s.want {
				t.Errorf("%s, step %d: %v, want %v", name, i, got, s.want)
			}
		}
	}
}

package replica

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// often is how often the same thing may go wrong at level error.
const often = time.Minute

// calm returns a logger that writes at most one error a minute, and the rest, like all of client-go's news, at level debug:
// client-go reports every try, and while the API server is away that is a line every second or two.
func calm(log logr.Logger) logr.Logger {
	if log.GetSink() == nil {
		return log
	}
	return log.WithSink(calmSink{LogSink: log.GetSink(), last: &lastError{}})
}

type lastError struct {
	mu sync.Mutex
	at time.Time
}

type calmSink struct {
	logr.LogSink
	last *lastError // shared by all that came of one logger
}

func (s calmSink) Info(level int, msg string, kv ...any) {
	if s.Enabled(level) {
		s.LogSink.Info(level+1, msg, kv...)
	}
}

func (s calmSink) Enabled(level int) bool { return s.LogSink.Enabled(level + 1) }

func (s calmSink) Error(err error, msg string, kv ...any) {
	now := time.Now()
	s.last.mu.Lock()
	again := !s.last.at.IsZero() && now.Sub(s.last.at) < often
	if !again {
		s.last.at = now
	}
	s.last.mu.Unlock()
	if !again {
		s.LogSink.Error(err, msg, kv...)
		return
	}
	s.Info(0, msg, append(kv, "error", err)...)
}

func (s calmSink) WithValues(kv ...any) logr.LogSink {
	return calmSink{LogSink: s.LogSink.WithValues(kv...), last: s.last}
}

func (s calmSink) WithName(name string) logr.LogSink {
	return calmSink{LogSink: s.LogSink.WithName(name), last: s.last}
}

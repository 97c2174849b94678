package telemetry

import (
	"cmp"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// maxQueued bounds what waits of the process log, when its reader is slower than we are.
	maxQueued = 1 << 20
	// syncTimeout is how long Sync waits for a reader.
	syncTimeout = time.Second
)

// A logQueue takes the lines of the process log, and writes them on a goroutine that lives while there are any. Whoever
// logs never waits: the one who reads the log may have stopped, and a request, or the loop that accepts connections, must
// not stop with him. Lines beyond maxQueued, and those that could not be written, are lost, counted, and told of when
// writing works again.
type logQueue struct {
	to     io.Writer
	lost   *Counter
	notice func(lines uint64) []byte // the line that tells of lost ones

	mu      sync.Mutex
	pending []byte
	waiting uint64        // lines in pending
	missing uint64        // lines lost, and not told of
	torn    bool          // the last line was written in part
	idle    chan struct{} // closed when nothing is left to write; nil: nobody writes
}

func newLogQueue(to io.Writer, lost *Counter, encoder zapcore.Encoder) *logQueue {
	return &logQueue{to: to, lost: cmp.Or(lost, new(Counter)), notice: func(lines uint64) []byte {
		entry := zapcore.Entry{Level: zapcore.WarnLevel, Time: time.Now(), Message: "lines of this log were lost: it could not be written"}
		text, err := encoder.Clone().EncodeEntry(entry, []zapcore.Field{zap.Uint64("lines", lines)})
		if err != nil {
			return nil
		}
		defer text.Free()
		return append([]byte(nil), text.Bytes()...)
	}}
}

// Write takes one line. It never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending)+len(line) > maxQueued {
		q.missing++
		q.lost.Inc()
		return len(line), nil
	}
	q.pending = append(q.pending, line...)
	q.waiting++
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.drain()
	}
	return len(line), nil
}

// drain writes until nothing is left.
func (q *logQueue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pending) > 0 {
		lines, count, told := q.pending, q.waiting, q.missing
		var text []byte
		if q.torn {
			text = append(text, '\n')
		}
		if told > 0 {
			text = append(text, q.notice(told)...)
		}
		text = append(text, lines...)
		q.pending, q.waiting = nil, 0
		q.mu.Unlock()
		n, err := q.to.Write(text)
		q.mu.Lock()
		if err != nil {
			q.missing += count
			q.lost.Add(count)
			q.torn = n > 0 && text[n-1] != '\n' || n == 0 && q.torn
			continue
		}
		q.missing -= told
		q.torn = false
	}
	close(q.idle)
	q.idle = nil
}

// Sync waits until what was logged is written, for no longer than a second.
func (q *logQueue) Sync() error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return nil
	}
	timer := time.NewTimer(syncTimeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	return nil
}

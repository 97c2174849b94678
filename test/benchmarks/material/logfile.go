package material

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// LogFlush is how long a proxy may keep lines of its access log back.
	LogFlush = 3 * time.Second
	// logShare is the share of the requests whose lines must have reached the file. It is not 1, because requests that run
	// when the load ends are logged or not.
	logShare = 0.99
)

// A LogFile is the access log that a contender writes, and counts its lines.
type LogFile struct {
	Path  string
	File  *os.File // for the standard output of a contender that cannot open files
	lines int64
	read  int64
}

// NewLogFile makes an empty one.
func NewLogFile(path string) (*LogFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &LogFile{Path: path, File: file}, nil
}

// Reset empties the file. Every contender opens it for appending, so its next line goes to the start.
func (l *LogFile) Reset() error {
	l.lines, l.read = 0, 0
	return os.Truncate(l.Path, 0)
}

// Await waits until the file has a line for each of the requests, and fails when it lacks too many: a proxy that drops its
// log does not do the same work. It waits no longer than flush.
func (l *LogFile) Await(ctx context.Context, requests int64, flush time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, flush)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := l.count(); err != nil {
			return err
		}
		if l.lines >= requests {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if float64(l.lines) < logShare*float64(requests) {
				return fmt.Errorf("the access log has %d lines for %d requests", l.lines, requests)
			}
			return nil
		}
	}
}

// count reads what was appended since the last call.
func (l *LogFile) count() error {
	buf := make([]byte, 1<<20)
	for {
		n, err := l.File.ReadAt(buf, l.read)
		l.read += int64(n)
		l.lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Remove closes and removes it.
func (l *LogFile) Remove() error { return errors.Join(l.File.Close(), os.Remove(l.Path)) }

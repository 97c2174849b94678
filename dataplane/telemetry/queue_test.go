package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

func testQueue(to io.Writer) (*logQueue, *Counter) {
	lost := new(Counter)
	return newLogQueue(to, lost, zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", LineEnding: "\n"})), lost
}

func put(t *testing.T, q *logQueue, line string) {
	t.Helper()
	if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
		t.Fatal(n, err)
	}
}

// Whoever logs does not wait for a reader that has stopped, and what waits for it is bounded.
func TestLogQueueDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	q, lost := testQueue(w)
	line := strings.Repeat("x", 1023) + "\n"
	const written = 3 * maxQueued / 1024
	for range written {
		put(t, q, line)
	}
	// As much as the queue holds may be under way, taken out of it whole, and as much again waits.
	if n := int(lost.Value()); n < written-2*maxQueued/1024 || n >= written {
		t.Errorf("%d of %d lines are lost", n, written)
	}
	dropped := lost.Value()
	all := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		all <- string(text)
	}()
	if err := q.Sync(); err != nil {
		t.Fatal(err)
	}
	put(t, q, "the end\n")
	_ = q.Sync()
	_ = w.Close()
	text := <-all
	if n := strings.Count(text, line); n+int(dropped) != written {
		t.Errorf("%d lines were written and %d dropped of %d", n, dropped, written)
	}
	notice := fmt.Sprintf("{\"msg\":\"lines of this log were lost: it could not be written\",\"lines\":%d}\n", dropped)
	if !strings.Contains(text, notice) || strings.Count(text, "were lost") != 1 {
		t.Errorf("it is not told once of %d lines", dropped)
	}
}

// A fullDisk takes so many bytes.
type fullDisk struct {
	room int
	text bytes.Buffer
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.text.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

// What was written in part stays a line of its own, and what is lost is told of once there is room.
func TestLogQueueOnAFullDisk(t *testing.T) {
	disk := &fullDisk{room: 10}
	q, lost := testQueue(disk)
	for i := range 4 {
		put(t, q, fmt.Sprintf("line %d\n", i))
		_ = q.Sync()
	}
	disk.room = 1000
	put(t, q, "line 4\n")
	_ = q.Sync()
	put(t, q, "line 5\n")
	_ = q.Sync()
	const want = "line 0\nlin\n{\"msg\":\"lines of this log were lost: it could not be written\",\"lines\":3}\nline 4\nline 5\n"
	if got := disk.text.String(); got != want || lost.Value() != 3 {
		t.Errorf("%q, %d lost", got, lost.Value())
	}
}

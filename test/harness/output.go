package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// An output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	deaf chan struct{} // while it is open nobody reads; nil: somebody does
	gone bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.deaf != nil && !o.gone {
		deaf := o.deaf
		o.mu.Unlock()
		<-deaf
		o.mu.Lock()
	}
	if o.gone {
		return 0, io.ErrClosedPipe // os/exec closes the end that it reads from
	}
	return o.text.Write(p)
}

// set makes the reader deaf, or ends that; one that is gone stays so.
func (o *output) set(deaf, gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf != nil {
		close(o.deaf)
		o.deaf = nil
	}
	if deaf {
		o.deaf = make(chan struct{})
	}
	o.gone = o.gone || gone
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A Line is one JSON object of a log.
type Line map[string]any

// Text is the value of a field as a string, empty if there is none.
func (l Line) Text(field string) string {
	text, _ := l[field].(string)
	return text
}

// Number is the value of a field as a number, 0 if there is none.
func (l Line) Number(field string) float64 {
	number, _ := l[field].(float64)
	return number
}

// lines parses complete lines; what is not a JSON object becomes one with the field "text".
func (o *output) lines() []Line {
	text := o.String()
	var lines []Line
	for {
		line, rest, complete := strings.Cut(text, "\n")
		if !complete {
			return lines
		}
		text = rest
		var parsed Line
		if err := json.Unmarshal([]byte(line), &parsed); err != nil || parsed == nil {
			parsed = Line{"text": line}
		}
		lines = append(lines, parsed)
	}
}

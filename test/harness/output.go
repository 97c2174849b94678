package harness

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
)

// An output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
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

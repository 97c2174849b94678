package standalone

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is something wrong with the configuration, and where.
type Problem struct {
	File    string `json:"file,omitempty"` // or what else it came from: "environment", "command line"
	Line    int    `json:"line,omitempty"` // from 1; 0 where there is none
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"` // of the field, as it is spelt there
	Message string `json:"message"`
}

// String is the problem in one line: config/test.yaml:14:5: services[1].name: must be set.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	if at := p.place(); at != "" {
		parts = append(parts, at)
	}
	if p.Path != "" {
		parts = append(parts, p.Path)
	}
	return strings.Join(append(parts, p.Message), ": ")
}

func (p Problem) place() string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	return p.File
}

// Report is the result of a check, for machines.
type Report struct {
	Valid    bool      `json:"valid"`
	Problems []Problem `json:"problems"`
}

// NewReport lists problems, none of which is a valid configuration.
func NewReport(problems []Problem) Report {
	return Report{Valid: len(problems) == 0, Problems: append([]Problem{}, problems...)}
}

// InvalidError says that a configuration cannot be used.
type InvalidError struct{ Problems []Problem }

// Error lists the problems, a line each, and their number.
func (e *InvalidError) Error() string {
	var b strings.Builder
	for _, p := range e.Problems {
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	b.WriteString(Summary(e.Problems))
	return b.String()
}

// Summary is the line that closes a list of problems.
func Summary(problems []Problem) string {
	if len(problems) == 1 {
		return "invalid: 1 problem"
	}
	return fmt.Sprintf("invalid: %d problems", len(problems))
}

// arrange puts problems into the order of their places, each one once.
func arrange(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	seen := map[Problem]bool{}
	return slices.DeleteFunc(problems, func(p Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
}

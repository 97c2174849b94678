package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// onTheWall are the files of the data plane that take a number from the clock on the wall, or drop the monotonic reading of a
// time, and why that is right. Anything else goes by exchange.Now or by a time.Time that was never taken apart: a clock that
// is set must not end what runs, nor keep it.
var onTheWall = map[string]string{
	"dataplane/admin/describe.go":             "shows it",
	"dataplane/admin/status.go":               "shows it",
	"dataplane/expiry/expiry.go":              "the end of certificates is a date",
	"dataplane/filter/jwt/filter.go":          "the claims of tokens are dates",
	"dataplane/filter/signing/signing.go":     "a signature says when it was made",
	"dataplane/http1/wire/sweeper.go":         "the Date of responses",
	"dataplane/telemetry/accesslog/encode.go": "says when, and takes durations from the monotonic clock",
	"dataplane/telemetry/collector.go":        "the end of certificates is a date",
	"dataplane/telemetry/log.go":              "says when",
	"dataplane/telemetry/metrics.go":          "says when a configuration was applied",
	"dataplane/upstream/affinity/signer.go":   "cookies outlive the process",
}

// wallCalls lists where a file takes a time apart: what it calls forgets the monotonic reading.
func wallCalls(name string, text []byte) ([]string, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, 0)
	if err != nil {
		return nil, err
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if from, isName := selector.X.(*ast.Ident); isName && from.Name == "time" { // time.Unix makes a date
			return true
		}
		known := []string{"Unix", "UnixNano", "UnixMilli", "UnixMicro", "UTC", "Truncate", "In", "Local"}
		if slices.Contains(known, selector.Sel.Name) {
			found = append(found, set.Position(call.Pos()).String()+": "+selector.Sel.Name)
		}
		return true
	})
	return found, nil
}

// TestDurationsGoByTheMonotonicClock keeps the list of those that read the wall.
func TestDurationsGoByTheMonotonicClock(t *testing.T) {
	used := map[string]bool{}
	for _, p := range load(t).own() {
		if !strings.HasPrefix(p.name(), "dataplane") {
			continue
		}
		for _, file := range sources(t, p) {
			if file.test {
				continue
			}
			name := p.name() + "/" + file.name
			found, err := wallCalls(name, file.text)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				continue
			}
			used[name] = true
			if onTheWall[name] == "" {
				t.Errorf("%s reads the clock on the wall: go by the monotonic one, or say in onTheWall why a date is meant: %v", name, found)
			}
		}
	}
	for name := range onTheWall {
		if !used[name] {
			t.Errorf("%s does not read the clock on the wall any more: strike it from onTheWall", name)
		}
	}
}

func TestWallCallsAreSeen(t *testing.T) {
	got, err := wallCalls("a.go", []byte("package a\n\nimport \"time\"\n\nvar a, b = time.Now().Unix(), time.Since(time.Now())\n"))
	if err != nil || len(got) != 1 || got[0] != "a.go:5:12: Unix" {
		t.Errorf("%v %v", got, err)
	}
}

// Command gen writes what follows from a chart's values: the list of them in README.md, from the comments of
// values.yaml, and the definitions of the process's settings in values.schema.json, from the JSON Schema of the
// standalone file. The rest of values.schema.json is written by hand and only put in order here. It runs in its own
// directory, by `go generate ./charts/...`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run .

const (
	chart      = "../pingora-proxy"
	fileSchema = "../../docs/pingora-proxy.schema.json"
)

func main() {
	files, err := generate(chart, fileSchema)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(chart, name), text, 0o644); err != nil { //nolint:gosec // published text
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}

// generate makes the content of the generated files, by their name in the chart's directory.
func generate(chart, fileSchema string) (map[string][]byte, error) {
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	page, err := readme(values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(chart, "values.yaml"), err)
	}
	own, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		return nil, err
	}
	settings, err := os.ReadFile(fileSchema)
	if err != nil {
		return nil, err
	}
	merged, err := schema(own, settings)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", filepath.Join(chart, "values.schema.json"), fileSchema, err)
	}
	return map[string][]byte{"README.md": page, "values.schema.json": merged}, nil
}

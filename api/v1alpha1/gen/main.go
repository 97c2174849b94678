// Command gen writes what follows from the Go types of the schema: the bounds that Validate reads, the configuration
// reference and the JSON Schema for editors. It runs in the folder of the types, by `go generate ./api/...`.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	files, err := generate(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	for _, name := range sortedKeys(files) {
		if err := os.WriteFile(filepath.FromSlash(name), files[name], 0o644); err != nil { //nolint:gosec // published text
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}

// generate makes the content of every generated file, by its path from dir, the folder of the types.
func generate(dir string) (map[string][]byte, error) {
	m, err := parse(dir)
	if err != nil {
		return nil, err
	}
	bounds, err := boundsSource(m)
	if err != nil {
		return nil, err
	}
	schema, err := jsonSchema(m)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"../validation/zz_generated.bounds.go": bounds,
		"../../docs/configuration.md":          markdown(m),
		"../../docs/pingora-proxy.schema.json": schema,
	}, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

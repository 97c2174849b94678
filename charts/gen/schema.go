package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// definition is the prefix of the definitions that come from the schema of the file.
const definition = "config."

// schema puts what the file's schema says about the globals into the chart's: as the definition config.Globals and
// those that it refers to.
func schema(own, file []byte) ([]byte, error) {
	var chart, source map[string]any
	if err := json.Unmarshal(own, &chart); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(file, &source); err != nil {
		return nil, err
	}
	definitions, ok := chart["$defs"].(map[string]any)
	if !ok {
		return nil, errors.New("the chart's schema has no $defs")
	}
	maps.DeleteFunc(definitions, func(name string, _ any) bool { return strings.HasPrefix(name, definition) })

	from, _ := source["$defs"].(map[string]any)
	globals, ok := from["file.Config"].(map[string]any)
	if !ok {
		return nil, errors.New("the file's schema has no definition file.Config")
	}
	properties, _ := globals["properties"].(map[string]any)
	delete(properties, "services") // in a cluster they are objects
	globals["description"] = "The settings of the whole process."
	if err := take(definitions, from, "Globals", globals); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(chart)
	return out.Bytes(), err
}

// take adds a definition under a name, and all that it refers to, and lets the references point there.
func take(into, from map[string]any, name string, value any) error {
	if _, done := into[definition+name]; done {
		return nil
	}
	into[definition+name] = value
	return refer(into, from, value)
}

func refer(into, from map[string]any, value any) error {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			if err := refer(into, from, item); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, item := range v {
			reference, ok := item.(string)
			if key != "$ref" || !ok {
				if err := refer(into, from, item); err != nil {
					return err
				}
				continue
			}
			old := strings.TrimPrefix(reference, "#/$defs/")
			target, ok := from[old]
			if !ok {
				return fmt.Errorf("the file's schema has no definition %q", old)
			}
			name := strings.TrimPrefix(old, "file.")
			v[key] = "#/$defs/" + definition + name
			if err := take(into, from, name, target); err != nil {
				return err
			}
		}
	}
	return nil
}

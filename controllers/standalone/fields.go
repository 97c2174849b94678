package standalone

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

// shape is what the decoder knows of a struct: its fields by the names that they may have.
type shape struct {
	fields []fieldShape
	byName map[string]int // both spellings
}

type fieldShape struct {
	json, file string
	index      []int
}

// shapes remembers the shapes of types, which never change.
type shapes struct {
	mu     sync.Mutex
	byType map[reflect.Type]*shape
}

func (s *shapes) of(t reflect.Type) *shape {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byType[t]; found != nil {
		return found
	}
	out := &shape{byName: map[string]int{}}
	out.add(t, nil)
	if s.byType == nil {
		s.byType = map[reflect.Type]*shape{}
	}
	s.byType[t] = out
	return out
}

func (s *shape) add(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && options == "" {
			continue // a type of apimachinery that is read as a whole
		}
		if options == "inline" {
			s.add(f.Type, at)
			continue
		}
		file := syntax.FileKey(name)
		s.byName[name], s.byName[file] = len(s.fields), len(s.fields)
		s.fields = append(s.fields, fieldShape{json: name, file: file, index: at})
	}
}

// names lists the fields in one spelling.
func (s *shape) names(camel bool) []string {
	out := make([]string, len(s.fields))
	for i, f := range s.fields {
		out[i] = f.file
		if camel {
			out[i] = f.json
		}
	}
	return out
}

// filePath spells a path of the API as a file does. Keys of maps, in brackets, stay as they are.
func filePath(path string) string {
	var b strings.Builder
	for path != "" {
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		b.WriteString(syntax.FileKey(path[:end]))
		path = path[end:]
		for strings.HasPrefix(path, "[") {
			closing := strings.IndexByte(path, ']')
			if closing < 0 {
				closing = len(path) - 1
			}
			b.WriteString(path[:closing+1])
			path = path[closing+1:]
		}
		if strings.HasPrefix(path, ".") {
			b.WriteByte('.')
			path = path[1:]
		} else {
			b.WriteString(path)
			path = ""
		}
	}
	return b.String()
}

// fileWords spells the fields that a sentence names in backticks as a file does.
func fileWords(sentence string, known map[string]bool) string {
	parts := strings.Split(sentence, "`")
	for i := 1; i+1 < len(parts); i += 2 {
		words := strings.Split(parts[i], ".")
		if !slices.ContainsFunc(words, func(w string) bool { return !known[w] }) {
			parts[i] = filePath(parts[i])
		}
	}
	return strings.Join(parts, "`")
}

// words are the names of all fields below a type.
func (s *shapes) words(t reflect.Type, into map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for _, f := range s.of(t).fields {
		into[f.json] = true
		s.words(t.FieldByIndex(f.index).Type, into)
	}
}

package shape

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

// A Shape is the fields of a struct, by the names that they may have.
type Shape struct {
	Fields []Field
	ByName map[string]int // both spellings
}

// A Field is one of them, with its name in an object and in a file, and where reflection finds it.
type Field struct {
	JSON, File string
	Index      []int
}

// Shapes remembers the shapes of types, which never change. Several goroutines may ask.
type Shapes struct{ byType sync.Map }

// Of returns the shape of a type, which is a struct.
func (s *Shapes) Of(t reflect.Type) *Shape {
	if found, ok := s.byType.Load(t); ok {
		return found.(*Shape)
	}
	out := &Shape{ByName: map[string]int{}}
	out.add(t, nil)
	found, _ := s.byType.LoadOrStore(t, out)
	return found.(*Shape)
}

func (s *Shape) add(t reflect.Type, index []int) {
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
		s.ByName[name], s.ByName[file] = len(s.Fields), len(s.Fields)
		s.Fields = append(s.Fields, Field{JSON: name, File: file, Index: at})
	}
}

// Names lists the fields in one spelling.
func (s *Shape) Names(camel bool) []string {
	out := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		out[i] = f.File
		if camel {
			out[i] = f.JSON
		}
	}
	return out
}

// FilePath spells a path of the API as a file does. Keys of maps, in brackets, stay as they are.
func FilePath(path string) string {
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

// FileWords spells the fields that a sentence names in backticks as a file does.
func FileWords(sentence string, known map[string]bool) string {
	parts := strings.Split(sentence, "`")
	for i := 1; i+1 < len(parts); i += 2 {
		words := strings.Split(parts[i], ".")
		if !slices.ContainsFunc(words, func(w string) bool { return !known[w] }) {
			parts[i] = FilePath(parts[i])
		}
	}
	return strings.Join(parts, "`")
}

// Words are the names of all fields below a type.
func (s *Shapes) Words(t reflect.Type, into map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for _, f := range s.Of(t).Fields {
		into[f.JSON] = true
		s.Words(t.FieldByIndex(f.Index).Type, into)
	}
}

package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of one file, and of what is made of it. The parser's time grows with the square of some of them, and its stack with the depth: measured,
// a file at all of these bounds is read within a few seconds.
const (
	MaxFileBytes = 2 << 20
	maxTokens    = 500_000
	MaxDepth     = 64      // of brackets, and of dashes and question marks on one line
	maxKeys      = 2000    // of one mapping
	maxDocuments = 4096    // of one file
	MaxNodes     = 500_000 // decoded, aliases counted as often as they are used
	MaxProblems  = 1_000   // reported of one file
)

// A Place is a position in a file. Lines and columns count from 1.
type Place struct{ Line, Column int }

// PlaceOf is where a token begins.
func PlaceOf(t *token.Token) Place {
	if t == nil || t.Position == nil {
		return Place{1, 1}
	}
	return Place{max(1, t.Position.Line), max(1, t.Position.Column)}
}

// A Fault is why a file cannot be read.
type Fault struct {
	At      Place
	Message string
}

// Parse reads a file's documents.
func Parse(data []byte) (docs []*ast.DocumentNode, f *Fault) {
	if len(data) > MaxFileBytes {
		return nil, &Fault{At: Place{1, 1}, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), MaxFileBytes)}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, ok := notText(data); ok {
		return nil, &Fault{At: at, Message: "the file is not UTF-8 text"}
	}
	// The parser is somebody else's, and has been made to panic by strange input before: a bad file must not end a proxy
	// that serves.
	defer func() {
		if r := recover(); r != nil {
			docs, f = nil, &Fault{At: Place{1, 1}, Message: fmt.Sprintf("the YAML cannot be read: %v", r)}
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if f := checkTokens(tokens); f != nil {
		return nil, f
	}
	file, err := parser.Parse(withoutEmpty(tokens), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			return nil, &Fault{At: PlaceOf(syntax.GetToken()), Message: "YAML: " + syntax.GetMessage()}
		}
		return nil, &Fault{At: Place{1, 1}, Message: "YAML: " + err.Error()}
	}
	return file.Docs, nil
}

// withoutEmpty leaves out documents in which nothing stands: the parser forgets everything that follows one.
func withoutEmpty(tokens token.Tokens) token.Tokens {
	out := make(token.Tokens, 0, len(tokens))
	header := -1 // in out, of a document in which nothing stands so far
	for _, t := range tokens {
		switch t.Type {
		case token.DocumentHeaderType:
			if header >= 0 {
				out = slices.Delete(out, header, header+1)
			}
			header = len(out)
		case token.CommentType:
		default:
			header = -1
		}
		out = append(out, t)
	}
	return out
}

func notText(data []byte) (Place, bool) {
	at := Place{1, 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 || r == 0 {
			return at, true
		}
		at.Column++
		if r == '\n' {
			at = Place{at.Line + 1, 1}
		}
		data = data[n:]
	}
	return at, false
}

// checkTokens refuses what would cost the parser too much.
func checkTokens(tokens token.Tokens) *Fault {
	if len(tokens) > maxTokens {
		return &Fault{At: PlaceOf(tokens[maxTokens]), Message: "the file holds too much YAML; use a folder of smaller files"}
	}
	tooDeep := func(t *token.Token) *Fault {
		return &Fault{At: PlaceOf(t), Message: fmt.Sprintf("the YAML is nested more than %d levels deep", MaxDepth)}
	}
	type mapping struct{ column, keys int }
	var open []mapping   // of block style, by their columns
	var flow []mapping   // of flow style
	onLine, line := 0, 0 // marks that nest on one line
	documents := 0
	for _, t := range tokens {
		if t.Position.Line != line {
			onLine, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.DocumentHeaderType:
			open = nil
			if documents++; documents > maxDocuments {
				return &Fault{At: PlaceOf(t), Message: fmt.Sprintf("the file has more than %d documents", maxDocuments)}
			}
		case token.SequenceStartType, token.MappingStartType:
			if flow = append(flow, mapping{}); len(flow) > MaxDepth {
				return tooDeep(t)
			}
		case token.SequenceEndType, token.MappingEndType:
			if len(flow) > 0 {
				flow = flow[:len(flow)-1]
			}
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			if onLine++; onLine > MaxDepth && len(flow) == 0 {
				return tooDeep(t)
			}
			for len(open) > 0 && open[len(open)-1].column > t.Position.Column {
				open = open[:len(open)-1]
			}
		case token.MappingValueType:
			in := &flow
			if len(flow) == 0 {
				in = &open
				column := t.Position.Column
				if t.Prev != nil {
					column = t.Prev.Position.Column
				}
				for len(open) > 0 && open[len(open)-1].column > column {
					open = open[:len(open)-1]
				}
				if len(open) == 0 || open[len(open)-1].column < column {
					open = append(open, mapping{column: column})
				}
			}
			top := &(*in)[len(*in)-1]
			if top.keys++; top.keys > maxKeys {
				return &Fault{At: PlaceOf(t), Message: fmt.Sprintf("a mapping has more than %d keys", maxKeys)}
			}
		}
	}
	return nil
}

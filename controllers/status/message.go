package status

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

const (
	// maxListed is how many problems one message tells.
	maxListed = 5
	// maxMessage bounds a message of the object, and the note of an Event, whose limit it is. The API takes 32 KiB in conditions.
	maxMessage = 1024
	// maxRouteMessage is less: an object may have 512 routes, and all of it must fit into etcd.
	maxRouteMessage = 256
)

// enumerate makes one message of several, in at most limit bytes: the first few, and how many more there are.
func enumerate(texts []string, limit int) string {
	texts = distinct(texts)
	more := ""
	if n := len(texts) - maxListed; n > 0 {
		texts = texts[:maxListed]
		more = fmt.Sprintf("; and %d more", n)
	}
	for i := range texts {
		texts[i] = valid(texts[i])
	}
	joined := strings.Join(texts, "; ")
	if len(joined)+len(more) > limit { // each gets the same share
		share := (limit-len(more))/len(texts) - len("; ")
		for i := range texts {
			texts[i] = cut(texts[i], share)
		}
		joined = strings.Join(texts, "; ")
	}
	return joined + more
}

// valid replaces what is not UTF-8: the API takes nothing else.
func valid(text string) string { return strings.ToValidUTF8(text, string(utf8.RuneError)) }

// cut shortens a text to at most limit bytes, between two runes.
func cut(text string, limit int) string {
	const ellipsis = "…"
	text = valid(text)
	if len(text) <= limit {
		return text
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// distinct keeps the first of equal texts.
func distinct(texts []string) []string {
	var out []string
	seen := make(map[string]bool, len(texts))
	for _, t := range texts {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

func describe(p translate.Problem) string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

func (h Hold) describe() string {
	switch {
	case h.Message == "":
		return "`" + h.Other + "`"
	case h.Other == "" || strings.Contains(h.Message, h.Other):
		return h.Message
	default:
		return "`" + h.Other + "`: " + h.Message
	}
}

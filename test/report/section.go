package report

import (
	"fmt"
	"os"
	"strings"
)

func markers(section string) (begin, end string) {
	return "<!-- " + section + ":begin -->\n", "<!-- " + section + ":end -->"
}

// Section returns what stands between the markers of a section; without them it is an error.
func Section(text, section string) (string, error) {
	_, content, _, err := cut(text, section)
	return content, err
}

// Replace puts content between the markers of a section of a file, and leaves everything else as it is.
func Replace(path, section, content string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, after, err := cut(string(text), section)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return os.WriteFile(path, []byte(before+content+after), 0o644)
}

// cut parts a text into what stands before a section's content, the content, and what follows; the markers belong to the
// first and the last part.
func cut(text, section string) (before, content, after string, err error) {
	begin, end := markers(section)
	before, rest, begun := strings.Cut(text, begin)
	content, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return "", "", "", fmt.Errorf("no section between %q and %q: add these lines where it belongs", strings.TrimSpace(begin), end)
	}
	return before + begin, content, end + after, nil
}

package parts

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
)

// Digest tells plain data apart.
func Digest(plain any) [sha256.Size]byte {
	text, err := json.Marshal(plain)
	if err != nil {
		return [sha256.Size]byte{} // plain data always marshals
	}
	return sha256.Sum256(text)
}

// Lower is a list in lower case.
func Lower(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = strings.ToLower(out[i])
	}
	return out
}

package syntax

import "strings"

// Nearest is the word of the list that the given one most likely stands for, or nothing if none is near: case and
// underscores do not count, and a third of the letters may be wrong.
func Nearest(word string, list []string) string {
	if len(word) > 128 {
		return ""
	}
	best, bestDistance := "", 1<<30
	folded := fold(word)
	for _, candidate := range list {
		target := fold(candidate)
		if d := distance(folded, target); d < bestDistance && d <= max(len(folded), len(target))/3 {
			best, bestDistance = candidate, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

package config

import "strings"

// nearest answers the word that somebody who wrote got most likely meant, or "" when none is near.
func nearest(got string, words []string) string {
	plain := func(s string) string {
		return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
	}
	const far = 3
	best, least := "", far
	if len(got) > 64 {
		return ""
	}
	for _, w := range words {
		if plain(w) == plain(got) {
			return w
		}
		if d := distance(got, w); d < least && 2*d < max(len(got), len(w)) {
			best, least = w, d
		}
	}
	if best != "" {
		return best
	}
	for _, w := range words { // "expect" for "expect_status"
		if len(got) >= 3 && (strings.HasPrefix(w, got) || strings.HasPrefix(got, w) && len(w) >= 3) {
			return w
		}
	}
	return ""
}

// distance counts the letters to insert, delete, change or swap with their neighbour (optimal string alignment).
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

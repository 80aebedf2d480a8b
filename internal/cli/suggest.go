package cli

// nearest returns the word that was most likely meant by got, "" when none is
// near: at most a third of its letters wrong, or one of them its beginning.
func nearest(got string, words []string) string {
	if len(got) > maxWord {
		return ""
	}
	best, least := "", len(got)/3+1
	for _, w := range words {
		if d := distance(got, w); d <= least && (best == "" || d < distance(got, best)) {
			best = w
		}
	}
	if best != "" || len(got) < 3 {
		return best
	}
	for _, w := range words {
		if len(w) > len(got) && (w[:len(got)] == got || w[len(w)-len(got):] == got) {
			return w
		}
	}
	return ""
}

// maxWord bounds the words that are compared, in bytes.
const maxWord = 64

// distance counts the letters to insert, drop or change (Levenshtein). Words
// longer than maxWord are never near.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return maxWord
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

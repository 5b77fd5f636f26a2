package recipe

import (
	"fmt"
	"strings"
)

// nearest gives the known word that a mistyped one was most likely meant to be, "" if none is near.
func nearest(mistyped string, known []string) string {
	if len(mistyped) > 64 {
		return ""
	}
	best, distance := "", max(2, len(mistyped)/3)+1
	for _, word := range known {
		if d := editDistance(strings.ToLower(mistyped), strings.ToLower(word)); d < distance && d < len(word) {
			best, distance = word, d
		}
	}
	return best
}

// didYouMean gives the hint "did you mean X?", "" if no known word is near.
func didYouMean(mistyped string, known []string) string {
	if word := nearest(mistyped, known); word != "" {
		return fmt.Sprintf("did you mean %s?", word)
	}
	return ""
}

// editDistance is Levenshtein's: the fewest bytes to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

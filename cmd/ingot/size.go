package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseSize reads a number of bytes: 4096, 512KiB, 1.5GiB.
func parseSize(text string) (int64, error) {
	number, unit := strings.TrimSpace(text), 1.0
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, found := strings.CutSuffix(number, suffix); found {
			number, unit = strings.TrimSpace(rest), math.Pow(1024, float64(i+1))
			break
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if n := value * unit; err == nil && n >= 1 && n < 1<<60 {
		return int64(n), nil
	}
	return 0, fmt.Errorf("%q: must be a number of bytes above 0, or of KiB, MiB, GiB or TiB, such as 20GiB", text)
}

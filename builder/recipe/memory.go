package recipe

import (
	"fmt"
	"regexp"
	"strconv"
)

// memorySize takes number and unit out of "2GiB", "2 GB", "2048M".
var memorySize = regexp.MustCompile(`^([0-9]{1,9}) ?(M|MB|MiB|G|GB|GiB|T|TB|TiB)$`)

// memory gives a size of memory in MiB: a whole number of MiB, or text with a unit. Memory comes in powers of two, so
// that MB and M mean MiB, GB and G GiB.
func (f field) memory() int {
	if f.node.Kind != scalarKind || f.node.ShortTag() != "!!str" {
		n, _ := f.integer(minMemoryMiB, maxMemoryMiB, " MiB")
		return n
	}
	m := memorySize.FindStringSubmatch(f.node.Value)
	if m == nil {
		f.problem(fmt.Sprintf("%q is no size of memory", clip(f.node.Value)), "write MiB as a number, such as 2048, or a size such as 2GiB")
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	switch m[2][0] {
	case 'G':
		n <<= 10
	case 'T':
		n <<= 20
	}
	if err != nil || n < minMemoryMiB || n > maxMemoryMiB {
		f.problem(fmt.Sprintf("is %s; it must be from %d MiB to %d MiB", f.node.Value, minMemoryMiB, maxMemoryMiB), "")
		return 0
	}
	return int(n)
}

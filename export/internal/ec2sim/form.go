package ec2sim

import (
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// form is the parameters of a request of EC2's query protocol, or those below a name: lists are NAME.1, NAME.2, …, structures NAME.FIELD.
type form struct {
	values url.Values
	prefix string // with a dot at its end
}

// get is a value, "" for one that is not given.
func (f form) get(name string) string { return f.values.Get(f.prefix + name) }

// flag is a boolean value.
func (f form) flag(name string) bool { return f.get(name) == "true" }

// number is a whole number, 0 for one that is not given.
func (f form) number(name string) int64 {
	n, _ := strconv.ParseInt(f.get(name), 10, 64)
	return n
}

// sub is a structure.
func (f form) sub(name string) form { return form{f.values, f.prefix + name + "."} }

// given tells whether there is a value under the name or below it.
func (f form) given(name string) bool {
	for key := range f.values {
		if key == f.prefix+name || strings.HasPrefix(key, f.prefix+name+".") {
			return true
		}
	}
	return false
}

// subs are the members of a list of structures, in order.
func (f form) subs(name string) []form {
	start := f.prefix + name + "."
	seen := map[int]bool{}
	for key := range f.values {
		if rest, ok := strings.CutPrefix(key, start); ok {
			number, _, _ := strings.Cut(rest, ".")
			if n, err := strconv.Atoi(number); err == nil {
				seen[n] = true
			}
		}
	}
	numbers := make([]int, 0, len(seen))
	for n := range seen {
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	var list []form
	for _, n := range numbers {
		list = append(list, f.sub(name+"."+strconv.Itoa(n)))
	}
	return list
}

// list is a list of values.
func (f form) list(name string) []string {
	var list []string
	for _, member := range f.subs(name) {
		list = append(list, f.values.Get(strings.TrimSuffix(member.prefix, ".")))
	}
	return list
}

// tags are those given for a kind of resource.
func (f form) tags(resource string) map[string]string {
	tags := map[string]string{}
	for _, specification := range f.subs("TagSpecification") {
		if specification.get("ResourceType") == resource {
			for _, tag := range specification.subs("Tag") {
				tags[tag.get("Key")] = tag.get("Value")
			}
		}
	}
	return tags
}

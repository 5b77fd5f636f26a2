package distribution

import (
	"errors"
	"fmt"
	"strings"
)

// Mistake is what is wrong with a field of a configuration, or of the recipe that an image is of.
type Mistake struct {
	// Region is that of the entry that the field is in, "" for a field outside of distributions.
	Region string
	// Field is its path from there, such as registration.bootMode. blockDeviceMappings and amiTags are the recipe's.
	Field string
	Err   error
}

func (m *Mistake) Error() string {
	if m.Region != "" {
		return fmt.Sprintf("%s: %s: %v", m.Region, m.Field, m.Err)
	}
	return fmt.Sprintf("%s: %v", m.Field, m.Err)
}

func (m *Mistake) Unwrap() error { return m.Err }

// Mistakes gives the mistakes that an error was joined of; ok is false if it has anything else in it.
func Mistakes(err error) (all []*Mistake, ok bool) {
	if m, is := err.(*Mistake); is {
		return []*Mistake{m}, true
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			some, is := Mistakes(err)
			if !is {
				return nil, false
			}
			all = append(all, some...)
		}
		return all, len(all) > 0
	case interface{ Unwrap() error }:
		return Mistakes(errors.Unwrap(err))
	}
	return nil, false
}

// Origin is the file that a configuration was read from.
type Origin struct {
	File   string
	Recipe bool // it is a recipe, whose part distribution the configuration is
	// Places are where fields are, by their path in the file. A field that is not in it has none.
	Places map[string]Place
}

// Place is a line and a column, counted from 1.
type Place struct{ Line, Column int }

// Locate gives the file of a mistake, the path of its field there, and the place of that or of the nearest field around it. What is not known is empty.
func (c *Configuration) Locate(m *Mistake) (file, field string, at Place) {
	field = m.Field
	recipes := strings.HasPrefix(field, "blockDeviceMappings") || strings.HasPrefix(field, "amiTags")
	for i, d := range c.Distributions {
		if m.Region != "" && d.Region == m.Region {
			field = fmt.Sprintf("distributions[%d].%s", i, field)
			recipes = false
		}
	}
	if c.Origin == nil || recipes && !c.Origin.Recipe {
		return "", field, at
	}
	if c.Origin.Recipe && !recipes {
		field = "distribution." + field
	}
	for path := field; path != ""; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
		if place, known := c.Origin.Places[path]; known {
			return c.Origin.File, field, place
		}
	}
	return c.Origin.File, field, at
}

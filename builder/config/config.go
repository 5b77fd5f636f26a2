// Package config reads $INGOT_HOME/config.yaml, in which a machine's owner sets what holds for all builds there. There need be none.
//
//	cache:
//	  maxSize: 20GiB # how much of the disk the layers may take
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component"
)

// FileName is that of the file in $INGOT_HOME.
const FileName = "config.yaml"

// maxFile bounds the file in bytes, minSize what sizes may be: less holds not even one layer.
const (
	maxFile = 64 << 10
	minSize = 64 << 20
)

// Config is what the file says. The zero value is that of no file.
type Config struct {
	Cache Cache
}

// Cache is about the layers (see builder/layer).
type Cache struct {
	// MaxSize is what they may take in bytes; 0: the default, a tenth of the free disk, at least 10 GiB.
	MaxSize int64
}

// Read reads a file; one that is not there says nothing. What is wrong in it is [component.Problems], each with line, column and field.
func Read(path string) (*Config, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Config{}, nil
	}
	if err == nil && info.Size() > maxFile {
		err = component.Problems{{File: path, Message: fmt.Sprintf("the file has %d bytes, more than %d", info.Size(), maxFile)}}
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads the text of a file of that name.
func Parse(file string, data []byte) (*Config, error) {
	p := &parser{file: file}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		line, message := component.YAMLError(err, data)
		p.problems = append(p.problems, component.Problem{File: file, Line: line, Message: "invalid YAML: " + message})
		return nil, p.problems.Err()
	}
	c := &Config{}
	if len(document.Content) == 1 { // else it is empty
		p.config(document.Content[0], c)
	}
	if err := p.problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

type parser struct {
	file     string
	problems component.Problems
}

func (p *parser) report(n *yaml.Node, field, message, hint string) {
	p.problems = append(p.problems, component.Problem{File: p.file, Line: n.Line, Column: n.Column, Field: field, Message: message, Hint: hint})
}

func (p *parser) config(n *yaml.Node, c *Config) {
	p.mapping(n, "", map[string]func(*yaml.Node, string){
		"cache": func(n *yaml.Node, field string) {
			p.mapping(n, field, map[string]func(*yaml.Node, string){
				"maxSize": func(n *yaml.Node, field string) { p.size(n, field, &c.Cache.MaxSize) },
			})
		},
	})
}

// mapping reads a mapping with the keys given, and no others. What has no value says nothing.
func (p *parser) mapping(n *yaml.Node, field string, keys map[string]func(*yaml.Node, string)) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	known := make([]string, 0, len(keys))
	for key := range keys {
		known = append(known, key)
	}
	slices.Sort(known)
	if n.Kind != yaml.MappingNode {
		p.report(n, field, "must be a mapping", "known here: "+strings.Join(known, ", "))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(field+"."+key.Value, ".")
		read := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || read == nil:
			p.report(key, at, "unknown key", "known here: "+strings.Join(known, ", "))
		case seen[key.Value] > 0:
			p.report(key, at, fmt.Sprintf("the key is repeated; it is already on line %d", seen[key.Value]), "remove one of them")
		default:
			seen[key.Value] = key.Line
			read(value, at)
		}
	}
}

func (p *parser) size(n *yaml.Node, field string, to *int64) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.ScalarNode {
		p.report(n, field, "must be a size", sizeHint)
		return
	}
	size, err := ParseSize(n.Value)
	switch {
	case err != nil:
		p.report(n, field, err.Error(), "")
	case size < minSize:
		p.report(n, field, fmt.Sprintf("%s is too small for a single layer", n.Value), "give at least 64MiB; ingot build --no-cache does without layers")
	default:
		*to = size
	}
}

const sizeHint = "such as 20GiB or 500MiB"

var sizePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?)?B?$`)

// ParseSize reads a number of bytes with a unit: KiB, MiB, GiB and TiB are powers of 1024, KB, MB, GB and TB of 1000. The B may be left out.
func ParseSize(text string) (int64, error) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size, %s", clip(text), sizeHint)
	}
	number, err := strconv.ParseFloat(m[1], 64)
	unit := 1.0
	if m[2] != "" {
		base := 1000.0
		if strings.HasSuffix(m[2], "i") {
			base = 1024
		}
		unit = math.Pow(base, float64(1+strings.IndexByte("KMGT", m[2][0])))
	}
	if bytes := number * unit; err == nil && bytes < 1<<62 {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("%s is too large a size", clip(text))
}

func clip(text string) string {
	if len(text) > 60 {
		return strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}

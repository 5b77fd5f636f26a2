package component

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
)

// comparison is an operator of conditions: "value OP operand" holds, or for files: the file operand, or the file path, is so.
type comparison struct {
	second string // the other key it takes: value, path or none
	holds  func(ctx context.Context, x *Execution, operand, second string) (bool, error)
}

// comparisons returns the operators by their names.
func comparisons() map[string]comparison {
	all := map[string]comparison{
		"stringIsEmpty":      {holds: texts(func(operand, _ string) bool { return operand == "" })},
		"stringIsWhitespace": {holds: texts(func(operand, _ string) bool { return operand != "" && strings.TrimSpace(operand) == "" })},
		"stringEquals":       {"value", texts(func(operand, value string) bool { return value == operand })},
		"patternMatches":     {"value", matches},
		"binaryExists": {holds: func(_ context.Context, x *Execution, operand, _ string) (bool, error) {
			_, err := x.LookPath(operand)
			return err == nil, nil
		}},
		"fileExists":       {holds: exists(fs.FileMode.IsRegular)},
		"folderExists":     {holds: exists(fs.FileMode.IsDir)},
		"fileMD5Equals":    {"path", hashEquals(md5.New)},
		"fileSHA1Equals":   {"path", hashEquals(sha1.New)},
		"fileSHA256Equals": {"path", hashEquals(sha256.New)},
		"fileSHA512Equals": {"path", hashEquals(sha512.New)},
		"numberEquals":     {"value", numbers(func(order int) bool { return order == 0 })},
	}
	for suffix, holds := range map[string]func(order int) bool{
		"LessThan":          func(order int) bool { return order < 0 },
		"LessThanEquals":    func(order int) bool { return order <= 0 },
		"GreaterThan":       func(order int) bool { return order > 0 },
		"GreaterThanEquals": func(order int) bool { return order >= 0 },
	} {
		all["number"+suffix] = comparison{"value", numbers(holds)}
		all["string"+suffix] = comparison{"value", texts(func(operand, value string) bool {
			return holds(cmp.Compare(strings.ToLower(value), strings.ToLower(operand)))
		})}
	}
	return all
}

// canonicalOperator corrects the spelling stringlessThan, which the service's own samples have.
func canonicalOperator(name string) string {
	if rest, ok := strings.CutPrefix(name, "stringlessThan"); ok {
		return "stringLessThan" + rest
	}
	return name
}

func operatorNames() []string {
	return append(slices.Sorted(maps.Keys(comparisons())), "and", "or", "not")
}

func texts(holds func(operand, value string) bool) func(context.Context, *Execution, string, string) (bool, error) {
	return func(_ context.Context, _ *Execution, operand, value string) (bool, error) {
		return holds(operand, value), nil
	}
}

func compilePattern(pattern string) (*regexp.Regexp, error) { return regexp.Compile("(?i)" + pattern) }

func matches(_ context.Context, _ *Execution, pattern, value string) (bool, error) {
	compiled, err := compilePattern(pattern)
	if err != nil {
		return false, err
	}
	return compiled.MatchString(value), nil
}

// numbers compares as numbers; texts that are none make the comparison false.
func numbers(holds func(order int) bool) func(context.Context, *Execution, string, string) (bool, error) {
	return func(_ context.Context, _ *Execution, operand, value string) (bool, error) {
		a, okA := number(value)
		b, okB := number(operand)
		return okA && okB && holds(a.Cmp(b)), nil
	}
}

// numberGrammar is what the service takes for a number in a text; exponentGrammar is how YAML and JSON may write a float64.
var (
	numberGrammar   = regexp.MustCompile(`^[-+]?([0-9]+[.])?[0-9]+$`)
	exponentGrammar = regexp.MustCompile(`^[-+]?([0-9]*[.])?[0-9]+[eE][-+]?[0-9]{1,3}$`)
)

func number(text string) (*big.Float, bool) {
	const longest, precision = 1024, 4096 // digits, and bits that hold them all
	if len(text) > longest || !numberGrammar.MatchString(text) && !exponentGrammar.MatchString(text) {
		return nil, false
	}
	value, _, err := big.ParseFloat(text, 10, precision, big.ToNearestEven)
	return value, err == nil
}

func exists(right func(fs.FileMode) bool) func(context.Context, *Execution, string, string) (bool, error) {
	return func(_ context.Context, x *Execution, path, _ string) (bool, error) {
		info, err := os.Stat(x.Path(path))
		return err == nil && right(info.Mode()), nil
	}
}

// hashEquals compares the hash of a file, in hexadecimal of any case. A file that is not there has no hash.
func hashEquals(algorithm func() hash.Hash) func(context.Context, *Execution, string, string) (bool, error) {
	return func(ctx context.Context, x *Execution, want, path string) (bool, error) {
		info, err := os.Stat(x.Path(path))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return false, nil
		}
		file, err := os.Open(x.Path(path))
		if err != nil {
			return false, err
		}
		defer file.Close()
		sum := algorithm()
		if _, err := io.Copy(sum, ContextReader(ctx, file)); err != nil {
			return false, fmt.Errorf("read %s: %w", path, err)
		}
		return strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), strings.TrimSpace(want)), nil
	}
}

// ContextReader returns a reader that fails with the cause of ctx as soon as that has ended, so that long copies can be stopped.
func ContextReader(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

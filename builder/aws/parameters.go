package aws

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// Parameters are the parameters of a file, by name.
type Parameters struct {
	file   string
	values map[string]component.StoredParameter
}

// Parameter returns a parameter. A version or label (NAME:3) is looked for first with it, then without: the file stands for every version.
func (p *Parameters) Parameter(_ context.Context, name string) (component.StoredParameter, error) {
	found, ok := p.values[name]
	if i := strings.LastIndexByte(name, ':'); !ok && i > 0 {
		found, ok = p.values[name[:i]]
	}
	if !ok {
		return found, fmt.Errorf("the parameter %s: %w in %s, which --ssm-parameters names; add it there", name, component.ErrNotFound, p.file)
	}
	return found, nil
}

// maxParameterFile bounds a file of parameters, in bytes.
const maxParameterFile = 16 << 20

// ReadParameters reads a file of parameters, YAML or JSON: a map of names to values. A text is a String, or for a name that refers to
// Secrets Manager a SecureString; a list of texts is a StringList; and a map tells both:
//
//	/app/port: "8080"
//	/app/zones: [eu-west-1a, eu-west-1b]
//	/app/password:
//	  type: SecureString
//	  value: correct horse battery staple
//	/aws/reference/secretsmanager/app: '{"user": "app"}'
//
// Mistakes are [component.Problems], all at once. Values are never part of a message.
func ReadParameters(file string) (*Parameters, error) {
	info, err := os.Stat(file)
	var data []byte
	if err == nil && info.Size() > maxParameterFile {
		return nil, component.Problems{{File: file, Message: fmt.Sprintf("the file is larger than %d MiB", maxParameterFile>>20)}}
	}
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, component.Problems{{File: file, Message: "cannot be read: " + reason(err), Hint: "--ssm-parameters names the file"}}
	}
	return ParseParameters(file, data)
}

package action

import (
	"context"
	"fmt"
	"io"

	"github.com/ingot-image/ingot/builder/component"
)

// ReadFile reads a text file. The output content is its text, complete with line feeds at the end, for later steps.
//
//   - A symbolic link is followed.
//   - A byte order mark of the encoding is left out of the content.
//   - The file must be text in the encoding: a byte sequence that is not, a NUL, or the byte order mark of the other byte order is an error.
//   - A text of more than 1 MiB is an error.
//   - The content is printed only if printFileContent is true.
//
// For example:
//
//	steps:
//	  - name: Version
//	    action: ReadFile
//	    inputs:
//	      - path: /etc/debian_version
//	  - name: Note
//	    action: CreateFile
//	    inputs:
//	      - path: /etc/built-on
//	        content: "Debian {{ build.Version.outputs.content }}"
type ReadFile struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Encoding of the file.
	Encoding Encoding `input:"encoding" default:"utf-8"`
	// PrintFileContent prints the content to the step's output, so that it gets into console.log.
	PrintFileContent bool `input:"printFileContent" default:"false"`
}

// Run implements [component.Action].
func (in ReadFile) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	content, err := in.read(ctx, x.Path(in.Path))
	if err != nil {
		return component.Outcome{}, fmt.Errorf("read file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	if in.PrintFileContent {
		if _, err := io.WriteString(x.Stdout, content); err != nil {
			return component.Outcome{}, fmt.Errorf("print file %s: %w", in.Path, err)
		}
	}
	return component.Outcome{Outputs: map[string]string{"content": content}}, nil
}

func (in ReadFile) read(ctx context.Context, path string) (string, error) {
	if err := mustBeFile(path); err != nil {
		return "", err
	}
	file, err := openSource(ctx, path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	limit := int64(component.MaxCaptured) * int64(in.Encoding.width())
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return "", err
	}
	tooLong := fmt.Errorf("its text is longer than %d MiB", component.MaxCaptured>>20)
	if int64(len(data)) > limit {
		return "", tooLong
	}
	text, err := in.Encoding.decode(data)
	if err != nil {
		return "", err
	}
	if len(text) > component.MaxCaptured {
		return "", tooLong
	}
	return text, nil
}

package action

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/ingot-image/ingot/builder/component"
)

// SetFileEncoding converts a text file from UTF-8 to another encoding. It keeps its owner and permissions, and is replaced in one step when
// the conversion is complete; a symbolic link is followed.
//
//   - A file that is not UTF-8, or holds a NUL, is an error, and stays as it is. So a file is not converted twice by accident.
//   - No byte order mark is added. One that is there is converted like any other character, so it becomes that of the new encoding.
//   - With utf-8 the file is only checked.
//
// For example:
//
//	steps:
//	  - name: ForWindows
//	    action: SetFileEncoding
//	    inputs:
//	      - path: /srv/share/settings.reg
//	        encoding: utf-16-LE
type SetFileEncoding struct {
	// Path of the file.
	Path string `input:"path,required"`
	// Encoding is the new one.
	Encoding Encoding `input:"encoding" default:"utf-8"`
}

// Run implements [component.Action].
func (in SetFileEncoding) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	if err := in.convert(ctx, x.Path(in.Path)); err != nil {
		return component.Outcome{}, fmt.Errorf("set encoding of file %s: %w", in.Path, spelled(err, x, in.Path))
	}
	return component.Outcome{}, nil
}

func (in SetFileEncoding) convert(ctx context.Context, path string) error {
	if err := mustBeFile(path); err != nil {
		return err
	}
	from, err := openSource(ctx, path)
	if err != nil {
		return err
	}
	defer from.Close()
	if in.Encoding.width() == 1 {
		return in.transcode(io.Discard, from)
	}
	return replaceFile(path, true, func(w *os.File) error {
		return errors.Join(in.transcode(w, from), from.Close()) // on Windows an open file cannot be replaced
	})
}

// transcode writes the text of r in the encoding.
func (in SetFileEncoding) transcode(w io.Writer, r io.Reader) error {
	from, to := bufio.NewReader(r), bufio.NewWriter(w)
	var encoded []byte
	for at := int64(0); ; {
		char, size, err := from.ReadRune()
		if errors.Is(err, io.EOF) {
			return to.Flush()
		}
		switch {
		case err != nil:
			return err
		case char == utf8.RuneError && size == 1:
			return fmt.Errorf("it is no UTF-8 text: byte %d fits nowhere", at)
		case char == 0:
			return fmt.Errorf("it is no UTF-8 text: byte %d is a NUL; was it converted before?", at)
		}
		at += int64(size)
		encoded = in.Encoding.append(encoded[:0], char)
		if _, err := to.Write(encoded); err != nil {
			return err
		}
	}
}

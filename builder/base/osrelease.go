package base

import (
	"errors"
	"io"
	"io/fs"
	"strings"
)

// readOSRelease reads an os-release(5) file; what cannot be read stays empty.
func readOSRelease(fsys fs.FS, name string) OS {
	f, err := fsys.Open(name)
	if err != nil {
		return OS{}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return OS{}
	}
	return parseOSRelease(string(data))
}

func parseOSRelease(text string) OS {
	var o OS
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if len(value) > 256 {
			value = value[:256]
		}
		value = strings.ToValidUTF8(value, "?")
		switch key {
		case "ID":
			o.ID = value
		case "VERSION_ID":
			o.VersionID = value
		case "VERSION_CODENAME":
			o.Codename = value
		case "PRETTY_NAME":
			o.PrettyName = value
		}
	}
	return o
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

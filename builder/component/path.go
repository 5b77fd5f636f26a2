package component

import "strings"

// Paths of documents by the rules of an operating system, which is given by its name in Go, so that those of Windows can be tested anywhere
// ("File path formats on Windows systems" in the .NET documentation).

// resolvePath returns the absolute path that a path stands for in a folder. On Windows a path that starts with a separator is on the volume
// of the folder, and one like C:file is in the folder if that is on this drive, otherwise at the drive's root: nothing is known of any
// other current folder.
func resolvePath(goos, folder, path string) string {
	if folder == "" {
		return path
	}
	if goos != "windows" {
		if strings.HasPrefix(path, "/") {
			return path
		}
		return folder + "/" + path
	}
	drive := hasDrive(path)
	switch {
	case startsWithSeparator(path) && startsWithSeparator(path[1:]), drive && startsWithSeparator(path[2:]):
		return path
	case startsWithSeparator(path):
		return windowsVolume(folder) + path
	case drive && strings.EqualFold(path[:2], windowsVolume(folder)):
		path = path[2:]
	case drive:
		return path[:2] + `\` + path[2:]
	}
	return folder + `\` + path
}

func hasDrive(path string) bool {
	return len(path) >= 2 && path[1] == ':' && ('a' <= path[0]|0x20 && path[0]|0x20 <= 'z')
}

func startsWithSeparator(path string) bool { return path != "" && (path[0] == '\\' || path[0] == '/') }

// windowsVolume returns the drive, C:, or the share, \\server\share, that an absolute path begins with; likewise \\?\C: and
// \\?\UNC\server\share.
func windowsVolume(path string) string {
	if hasDrive(path) {
		return path[:2]
	}
	if !startsWithSeparator(path) || !startsWithSeparator(path[1:]) {
		return ""
	}
	end, names := 2, 2
	for n := 1; ; n++ {
		length := strings.IndexAny(path[end:], `\/`)
		if length < 0 {
			return path
		}
		if name := path[end : end+length]; n == 2 && strings.EqualFold(name, "UNC") && (path[2] == '?' || path[2] == '.') {
			names = 4
		}
		end += length
		if n == names {
			return path[:end]
		}
		end++
	}
}

// isPath tells whether the name of a program is a path, not to be looked for in the folders of PATH.
func isPath(goos, program string) bool {
	if goos == "windows" {
		return strings.ContainsAny(program, `\/`) || hasDrive(program)
	}
	return strings.Contains(program, "/")
}

// executableExtensions are what may follow the name of a program in its file's name: nothing, and on Windows the extensions of PATHEXT.
func executableExtensions(goos string, getenv func(string) string) []string {
	extensions := []string{""}
	if goos != "windows" {
		return extensions
	}
	list := getenv("PATHEXT")
	if list == "" {
		list = ".COM;.EXE;.BAT;.CMD"
	}
	for extension := range strings.SplitSeq(list, ";") {
		if extension != "" {
			extensions = append(extensions, extension)
		}
	}
	return extensions
}

// findProgram returns the first file that exists of those a path of a program may mean.
func findProgram(goos string, getenv func(string) string, path string, exists func(path string) bool) (string, bool) {
	for _, extension := range executableExtensions(goos, getenv) {
		if exists(path + extension) {
			return path + extension, true
		}
	}
	return "", false
}

package component

import "testing"

func TestResolvePath(t *testing.T) {
	tests := []struct{ goos, folder, path, want string }{
		{"linux", "/tmp", "a/b", "/tmp/a/b"},
		{"linux", "/tmp", "/a/b", "/a/b"},
		{"linux", "/tmp", `C:\a`, `/tmp/C:\a`},
		{"linux", "/tmp", `\a`, `/tmp/\a`},
		{"darwin", "/tmp", "/a", "/a"},
		{"windows", `C:\Temp`, `a\b`, `C:\Temp\a\b`},
		{"windows", `C:\Temp`, `a/b`, `C:\Temp\a/b`},
		{"windows", `C:\Temp`, `D:\a`, `D:\a`},
		{"windows", `C:\Temp`, `d:/a`, `d:/a`},
		{"windows", `C:\Temp`, `/tmp/x`, `C:/tmp/x`},
		{"windows", `D:\Temp`, `\Temp\x`, `D:\Temp\x`},
		{"windows", `\\server\share\Temp`, `\x`, `\\server\share\x`},
		{"windows", `\\server\share`, `\x`, `\\server\share\x`},
		{"windows", `\\?\C:\Temp`, `\x`, `\\?\C:\x`},
		{"windows", `\\?\UNC\server\share\Temp`, `\x`, `\\?\UNC\server\share\x`},
		{"windows", `C:\Temp`, `\\server\share\x`, `\\server\share\x`},
		{"windows", `C:\Temp`, `//server/share/x`, `//server/share/x`},
		{"windows", `C:\Temp`, `C:x`, `C:\Temp\x`},
		{"windows", `C:\Temp`, `c:x`, `C:\Temp\x`},
		{"windows", `C:\Temp`, `D:x`, `D:\x`},
		{"windows", `\\server\share\Temp`, `C:x`, `C:\x`},
		{"windows", `C:\Temp`, `D:`, `D:\`},
		{"windows", `C:\Temp`, `1:x`, `C:\Temp\1:x`},
		{"windows", `C:\Temp`, ``, `C:\Temp\`},
		{"windows", `C:\Temp`, `\`, `C:\`},
	}
	for _, test := range tests {
		if got := resolvePath(test.goos, test.folder, test.path); got != test.want {
			t.Errorf("on %s %s in %s is %s, want %s", test.goos, test.path, test.folder, got, test.want)
		}
	}
}

func TestIsPath(t *testing.T) {
	tests := []struct {
		goos, program string
		want          bool
	}{
		{"linux", "sh", false}, {"linux", "./sh", true}, {"linux", `a\b`, false}, {"linux", "C:x", false},
		{"windows", "cmd", false}, {"windows", "bin/x", true}, {"windows", `bin\x`, true}, {"windows", "C:x", true},
	}
	for _, test := range tests {
		if got := isPath(test.goos, test.program); got != test.want {
			t.Errorf("on %s %s: %t", test.goos, test.program, got)
		}
	}
}

func TestFindProgram(t *testing.T) {
	tests := []struct{ goos, pathext, path, file, want string }{
		{"linux", ".EXE", "/bin/x", "/bin/x.EXE", ""},
		{"linux", "", "/bin/x", "/bin/x", "/bin/x"},
		{"windows", "", `C:\x`, `C:\x.EXE`, `C:\x.EXE`},
		{"windows", "", `C:\x.EXE`, `C:\x.EXE`, `C:\x.EXE`},
		{"windows", ".PY;;.CMD;", `C:\x`, `C:\x.CMD`, `C:\x.CMD`},
		{"windows", ".PY", `C:\x`, `C:\x.EXE`, ""},
	}
	for _, test := range tests {
		getenv := func(string) string { return test.pathext }
		got, ok := findProgram(test.goos, getenv, test.path, func(path string) bool { return path == test.file })
		if got != test.want || ok != (test.want != "") {
			t.Errorf("on %s %s is %q, want %q", test.goos, test.path, got, test.want)
		}
	}
}

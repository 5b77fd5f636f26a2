package action_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// recorder takes the place of running commands.
type recorder struct {
	commands []string
	answer   func(c component.Command) error
}

func (r *recorder) Run(_ context.Context, c component.Command) error {
	name := c.Path[strings.LastIndex(c.Path, "/")+1:]
	r.commands = append(r.commands, strings.Join(append([]string{name}, c.Args...), " "))
	if slices.Contains(c.Env, "DEBIAN_FRONTEND=noninteractive") != strings.HasPrefix(name, "apt") && name != "dpkg-query" {
		return fmt.Errorf("%s got the wrong environment", name)
	}
	if r.answer != nil {
		return r.answer(c)
	}
	return nil
}

func TestUpdateOS(t *testing.T) {
	const apt = "apt-get -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
	held := func(c component.Command) error {
		if slices.Contains(c.Args, "showhold") {
			fmt.Fprintln(c.Stdout, "before")
		}
		if slices.Contains(c.Args, "missing") {
			return &component.ExitError{Code: 1}
		}
		return nil
	}
	tests := []struct {
		name, programs, inputs string
		answer                 func(component.Command) error
		want                   []string
		failure                string
	}{
		{"apt", "apt-get apt-mark dnf", "{}", nil, []string{apt + "update", apt + "upgrade --with-new-pkgs"}, ""},
		{"apt, included", "apt-get", "{include: [nginx, g++, x], exclude: []}", nil, []string{apt + "update", apt + "install --only-upgrade nginx g++ x"}, ""},
		{"apt, excluded", "apt-get apt-mark dpkg-query", "{exclude: [nginx, before, missing]}", held, []string{apt + "update", "apt-mark showhold",
			"dpkg-query -W nginx", "apt-mark hold nginx", "dpkg-query -W missing", apt + "upgrade --with-new-pkgs", "apt-mark unhold nginx"}, ""},
		{"apt, failing", "apt-get", "{}", func(c component.Command) error {
			if slices.Contains(c.Args, "upgrade") {
				return &component.ExitError{Code: 100}
			}
			return nil
		}, []string{apt + "update", apt + "upgrade --with-new-pkgs"}, "update the system by apt-get: exit status 100"},
		{"apt, no lists", "apt-get", "{}", func(component.Command) error { return &component.ExitError{Code: 100} },
			slices.Repeat([]string{apt + "update"}, 5), "update the system by apt-get: exit status 100"},
		{"dnf", "dnf yum", "{include: [a, b], exclude: [b, 'c*']}", nil, []string{"dnf -y update --exclude=b --exclude=c* a"}, ""},
		{"yum", "yum", "{}", nil, []string{"yum -y update"}, ""},
		{"nothing left", "yum", "{include: [a], exclude: [a]}", nil, nil, ""},
		{"title", "apt-get", "{include: [nginx, 'Security Update *']}", nil, nil, `update the system: "Security Update *" is no name of a package`},
		{"mark", "apt-get", "{exclude: [nginx-]}", nil, nil, `update the system: "nginx-" is no name of a package`},
		{"none", "", "{}", nil, nil, "none of apt-get, dnf and yum is on this machine"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			for _, program := range strings.Fields(test.programs) {
				m.write("usr/bin/"+program, "", 0o755)
			}
			r := &recorder{answer: test.answer}
			m.System.Commands, m.System.Environ = r, []string{"PATH=/bin:/usr/bin", "HOME=/"}
			expect(t, m.run("UpdateOS", test.inputs), test.failure)
			if !slices.Equal(r.commands, test.want) {
				t.Errorf("commands:\n%s\nwant:\n%s", strings.Join(r.commands, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// realMachine works on the real file system, because commands do.
func realMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.System.Root = ""
	m.System.Environ = nil
	return m
}

// in runs a document with a step of the action in the machine's folder.
func (m *machine) in(action, inputs string) *component.Result {
	m.t.Helper()
	m.notices, m.output = "", ""
	result, err := m.Run(context.Background(), component.Request{
		Documents: []component.RunDocument{{Name: "d", Content: fmt.Appendf(nil,
			"schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: %s, inputs: %s}]}]\n", action, inputs)}},
		WorkingDirectory: m.root,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return result
}

func TestExecuteBash(t *testing.T) {
	m := realMachine(t)
	result := m.in("ExecuteBash", `{commands: ["x=1; cd /", "echo $x $PWD $0", "false", "echo \"multi", "line\" >&2"]}`)
	if result.Status != component.StatusSuccess || !strings.Contains(m.output, "1 / "+m.root) || !strings.Contains(m.output, "/input.sh\n") || !strings.Contains(m.output, "multi\nline\n") {
		t.Errorf("result %+v, output %q", result, m.output)
	}
	result = m.in("ExecuteBash", `{commands: ["pwd; stat -c %a $0", "exit 7"]}`)
	if result.Failure == nil || *result.Failure.ExitCode != 7 || m.output != m.root+"\n700\n" {
		t.Errorf("result %+v, output %q", result, m.output)
	}
	result = m.in("ExecuteBash", `{commands: ["kill -9 $$"]}`)
	if result.Failure == nil || *result.Failure.ExitCode != 137 || result.Failure.Message != "ended by signal: killed" {
		t.Errorf("failure %+v", result.Failure)
	}
	if result = m.in("ExecuteBash", `{commands: ["exit 194"]}`); result.Status != component.StatusReboot {
		t.Errorf("result %+v", result)
	}
	m.noTemporaryFiles()
	m.System.Environ = []string{"PATH=/nowhere"}
	if result = m.in("ExecuteBash", `{commands: [a]}`); result.Failure == nil || result.Failure.Message != "find program: bash is in no folder of PATH" {
		t.Errorf("failure %+v", result.Failure)
	}
}

func TestExecuteBashReadsNothing(t *testing.T) {
	m := realMachine(t)
	if result := m.in("ExecuteBash", `{commands: ["cat; echo end"]}`); result.Status != component.StatusSuccess || m.output != "end\n" {
		t.Errorf("result %+v, output %q", result, m.output)
	}
}

func TestExecuteBinary(t *testing.T) {
	m := realMachine(t)
	m.write("tool", "#!/bin/sh\nprintf '%s|' \"$@\" \"$PWD\"\nexit $1\n", 0o755)
	m.write("plain", "x", 0o644)
	result := m.in("ExecuteBinary", `{path: ./tool, arguments: [0, "a b", "$HOME", ""]}`)
	if want := "0|a b|$HOME||" + m.root + "|"; result.Status != component.StatusSuccess || m.output != want {
		t.Errorf("result %+v, output %q", result, m.output)
	}
	if result = m.in("ExecuteBinary", `{path: echo, arguments: [hi]}`); result.Status != component.StatusSuccess || m.output != "hi\n" {
		t.Errorf("result %+v, output %q", result, m.output)
	}
	if result = m.in("ExecuteBinary", `{path: ./tool, arguments: [194]}`); result.Status != component.StatusReboot {
		t.Errorf("result %+v", result)
	}
	for path, want := range map[string]string{
		"./plain": "find program: ./plain is not an executable file", "/nope": "/nope is not an executable file", "no-such-tool": "no-such-tool is in no folder of PATH",
	} {
		if result = m.in("ExecuteBinary", "{path: "+path+"}"); result.Failure == nil || !strings.Contains(result.Failure.Message, want) {
			t.Errorf("%s: failure %+v", path, result.Failure)
		}
	}
}

func TestProcessGroupReportsWhatCannotStart(t *testing.T) {
	var out bytes.Buffer
	err := component.ProcessGroup{}.Run(context.Background(), component.Command{Path: "/nope", Stdout: &out})
	if err == nil || !strings.Contains(err.Error(), "start /nope") {
		t.Errorf("error %v", err)
	}
}

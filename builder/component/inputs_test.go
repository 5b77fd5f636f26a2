package component_test

import (
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

func TestEmptyItems(t *testing.T) {
	b := newBench(t, step(`
- name: A
  action: ExecuteBash
  inputs:
    commands:
      -
      - echo a >> log
      - ~
- name: B
  action: ExecuteBinary
  inputs: {path: /bin/sh, arguments: ['-c', 'echo "$#:$1:$2" >> log', x, ~, b]}
- name: C
  action: ExecuteBash
  inputs: {commands: ["echo '{{ build.B.inputs.arguments[3] }}.' >> log", "echo '{{ build.B.inputs.arguments[4] }}.' >> log"]}
`))
	if result := b.run(); result.Status != component.StatusSuccess || b.file("log") != "a\n2::b\n.\nb.\n" {
		t.Errorf("result %+v, failure %+v, ran %q", result, result.Failure, b.file("log"))
	}
}

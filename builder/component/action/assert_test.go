package action_test

import "testing"

func TestAssert(t *testing.T) {
	m := newMachine(t)
	m.write("etc/file", "content", 0o600)
	m.write("bin/tool", "", 0o755)
	m.write("bin/notool", "", 0o644)
	m.System.Environ = []string{"PATH=/bin", "HOME=/"}
	tests := []struct {
		condition string
		want      bool
	}{
		{`stringIsEmpty: ""`, true},
		{`stringIsEmpty: " "`, false},
		{`stringIsWhitespace: " \t\n"`, true},
		{`stringIsWhitespace: ""`, false},
		{`stringIsWhitespace: " a"`, false},
		{`stringEquals: abc, value: abc`, true},
		{`stringEquals: abc, value: ABC`, false},
		{`stringEquals: 1.10, value: "1.10"`, true},
		{`stringEquals: abc, value: "abc "`, false},
		{`stringLessThan: b, value: a`, true}, // the reference's example: value is less than the operand
		{`stringLessThan: a, value: b`, false},
		{`stringLessThan: A, value: a`, false},
		{`stringLessThanEquals: A, value: a`, true},
		{`stringLessThan: a, value: "1"`, true},
		{`stringlessThan: b, value: a`, true},
		{`stringGreaterThan: a, value: B`, true},
		{`stringGreaterThanEquals: b, value: a`, false},
		{`patternMatches: '^[a-z]+$', value: ThisIsValue`, true},
		{`patternMatches: '(?-i)^[a-z]+$', value: ThisIsValue`, false},
		{`patternMatches: 'b+', value: abbc`, true},
		{`numberEquals: 1, value: "1.0"`, true},
		{`numberEquals: 0.1, value: "+0.10"`, true},
		{`numberEquals: 9007199254740993, value: 9007199254740992`, false},
		{`numberEquals: 1e3, value: 1000`, true},
		{`numberEquals: 010, value: 10`, true},
		{`numberGreaterThan: 1, value: 2`, true}, // the reference's example
		{`numberGreaterThan: 2, value: 1`, false},
		{`numberGreaterThanEquals: 2, value: 2`, true},
		{`numberLessThan: 10, value: 9`, true},
		{`numberLessThan: -1, value: -2`, true},
		{`numberLessThanEquals: 1, value: two`, false},
		{`numberGreaterThan: one, value: 2`, false},
		{`numberEquals: 0x10, value: 16`, false},
		{`binaryExists: tool`, true},
		{`binaryExists: notool`, false},
		{`binaryExists: nope`, false},
		{`binaryExists: /bin/tool`, true},
		{`fileExists: /etc/file`, true},
		{`fileExists: ../etc/file`, true},
		{`fileExists: /etc`, false},
		{`fileExists: /nope`, false},
		{`folderExists: /etc`, true},
		{`folderExists: /etc/file`, false},
		{`fileMD5Equals: 9A0364B9E99BB480DD25E1F0284C8555, path: /etc/file`, true},
		{`fileSHA1Equals: 040f06fd774092478d450774f5ba30c5da78acc8, path: /etc/file`, true},
		{`fileSHA256Equals: ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73, path: /etc/file`, true},
		{`fileSHA512Equals: b2d1d285b5199c85f988d03649c37e44fd3dde01e5d69c50fef90651962f48110e9340b60d49a479c4c0b53f5f07d690686dd87d2481937a512e8b85ee7c617f, path: /etc/file`, true},
		{`fileSHA1Equals: "00", path: /etc/file`, false},
		{`fileSHA1Equals: "00", path: /nope`, false},
		{`fileSHA1Equals: "00", path: /etc`, false},
		{`and: [{fileExists: /etc/file}, {folderExists: /etc}]`, true},
		{`and: [{fileExists: /etc/file}, {folderExists: /nope}]`, false},
		{`or: [{fileExists: /nope}, {folderExists: /etc}]`, true},
		{`or: [{fileExists: /nope}, {folderExists: /nope}]`, false},
		{`not: {fileExists: /nope}`, true},
		{`not: [{fileExists: /etc/file}]`, false},
		{`and: [{or: [{not: {and: [{fileExists: /nope}]}}]}]`, true},
	}
	for _, test := range tests {
		want := ""
		if !test.want {
			want = "assertion is false: "
		}
		t.Run(test.condition, func(t *testing.T) {
			expect(t, m.run("Assert", "{"+test.condition+"}"), want)
		})
	}
	expect(t, m.run("Assert", `{and: [{not: {stringEquals: a, value: a}}, {fileExists: /x}]}`),
		`assertion is false: and(not(stringEquals "a" (value "a")), fileExists "/x")`)
}

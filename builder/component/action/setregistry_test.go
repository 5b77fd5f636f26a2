package action

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

func TestRegistryKey(t *testing.T) {
	for path, want := range map[string]string{
		`HKLM:\SOFTWARE\Example`:            `HKLM SOFTWARE\Example`,
		`HKLM\SOFTWARE\Example\`:            `HKLM SOFTWARE\Example`,
		`hklm:\a`:                           `HKLM a`,
		`HKEY_LOCAL_MACHINE\SYSTEM\a b`:     `HKLM SYSTEM\a b`,
		`HKEY_CURRENT_USER:\Software`:       `HKCU Software`,
		`HKCR:\.txt`:                        `HKCR .txt`,
		`HKEY_CLASSES_ROOT\.txt`:            `HKCR .txt`,
		`HKU:\.DEFAULT\Software`:            `HKU .DEFAULT\Software`,
		`HKEY_USERS\S-1-5-18`:               `HKU S-1-5-18`,
		`HKEY_CURRENT_CONFIG\System`:        `HKCC System`,
		`HKCC:\System`:                      `HKCC System`,
		`SOFTWARE\Example`:                  `begins with no hive, but with "SOFTWARE"`,
		`HKLM/SOFTWARE`:                     `begins with no hive, but with "HKLM/SOFTWARE"`,
		`HKLM:`:                             "names a hive, but no key in it",
		`HKEY_LOCAL_MACHINE\`:               "names a hive, but no key in it",
		`HKLM:\a\\b`:                        "has an empty part",
		`HKEY_PERFORMANCE_DATA\a`:           `begins with no hive, but with "HKEY_PERFORMANCE_DATA"`,
		`Registry::HKEY_LOCAL_MACHINE\SOFT`: `begins with no hive, but with "REGISTRY::HKEY_LOCAL_MACHINE"`,
	} {
		hive, key, err := registryKey(path)
		got := hive + " " + key
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("registryKey(%s) = %s, want %s", path, got, want)
		}
	}
}

func TestRegistryData(t *testing.T) {
	for _, test := range []struct{ kind, value, want string }{
		{"SZ", "''", "[] 0  []"}, {"SZ", "007", "[] 0 007 []"}, {"REG_SZ", "a b", "[] 0 a b []"}, {"sz", "1.50", "[] 0 1.50 []"},
		{"SZ", "[a]", "must be a single value"}, {"SZ", "{a: b}", "is a map"},
		{"EXPAND_SZ", `"%TEMP%\\x"`, `[] 0 %TEMP%\x []`},
		{"MULTI_SZ", "[a, '2', 3.0]", "[] 0  [a 2 3.0]"}, {"MULTI_SZ", "one", "[] 0  [one]"}, {"MULTI_SZ", "[]", "[] 0  []"},
		{"MULTI_SZ", "[a, '']", "has an empty text in it"}, {"MULTI_SZ", "[[a]]", "must be a list of single values, item 0 is none"},
		{"DWORD", "1", "[] 1  []"}, {"DWORD", "0xFFFFFFFF", "[] 4294967295  []"}, {"DWORD", "'010'", "[] 10  []"},
		{"DWORD", "1.1", "[] 1  []"}, {"DWORD", "-1", "[] 4294967295  []"},
		{"DWORD", "4294967296", "must be a whole number of 32 bits"}, {"DWORD", "0x1FFFFFFFF", "must be a whole number of 32 bits"},
		{"DWORD", "-2147483649", "must be a whole number"}, {"DWORD", "one", "must be a whole number"}, {"DWORD", "''", "must be a whole number"},
		{"DWORD", "1.x", "must be a whole number"}, {"DWORD", "[1]", "must be a single value"},
		{"QWORD", "4294967296", "[] 4294967296  []"}, {"QWORD", "0xFFFFFFFFFFFFFFFF", "[] 18446744073709551615  []"},
		{"QWORD", "-1", "[] 18446744073709551615  []"}, {"QWORD", "18446744073709551616", "must be a whole number of 64 bits"},
		{"BINARY", "[1, 0x0a, 255]", "[1 10 255] 0  []"}, {"BINARY", "[]", "[] 0  []"}, {"BINARY", "[256]", "has as item 0 no byte"},
		{"BINARY", "0aFF", "[10 255] 0  []"}, {"BINARY", "0x0AFF", "[10 255] 0  []"}, {"BINARY", "'0a,ff'", "[10 255] 0  []"},
		{"BINARY", "'0A FF'", "[10 255] 0  []"}, {"BINARY", "''", "[] 0  []"}, {"BINARY", "abc", "must be two hexadecimal digits per byte"},
	} {
		document := fmt.Sprintf("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: SetRegistry, inputs: [{value: %s}]}]}]\n", test.value)
		parsed, _ := component.Parse("d", []byte(document), Modules())
		in := SetRegistry{Value: parsed.Phases[0].Steps[0].Inputs.Items[0].Get("value"), Type: test.kind}
		data, err := in.data()
		got := fmt.Sprint(data.bytes, data.number, " ", data.text, " ", data.texts)
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != test.want || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: got %q, want %q", test.kind, test.value, got, test.want)
		}
	}
}

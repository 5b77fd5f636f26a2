package action

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// SetRegistry writes values of the Windows registry. Missing keys are made; a value that exists is replaced, whatever type it has.
//
// The first part of a path is a hive by its short or long name, with or without a colon: HKCR (HKEY_CLASSES_ROOT), HKU (HKEY_USERS), HKLM
// (HKEY_LOCAL_MACHINE), HKCC (HKEY_CURRENT_CONFIG), HKCU (HKEY_CURRENT_USER: that of the user who runs the documents, in a build SYSTEM).
//
// What a value must be depends on its type:
//
//   - SZ, EXPAND_SZ: a text
//   - MULTI_SZ: a list of texts, none of them empty, or a text
//   - DWORD, QWORD: a whole number of 32 or 64 bits, decimal or hexadecimal after 0x; a fraction is cut off
//   - BINARY: a list of bytes, 0 to 255, or a text of two hexadecimal digits per byte
//
// Steps look like this:
//
//	steps:
//	  - name: Settings
//	    action: SetRegistry
//	    inputs:
//	      - path: HKLM:\SOFTWARE\Example
//	        name: Servers
//	        type: MULTI_SZ
//	        value: [one.example.com, two.example.com]
type SetRegistry struct {
	// Path of the key, beginning with its hive.
	Path string `input:"path,required"`
	// Name of the value, (Default) for that of the key itself.
	Name string `input:"name,required"`
	// Value to write: a text, a number or a list.
	Value *component.Node `input:"value,required"`
	// Type of the value: BINARY, DWORD, QWORD, SZ, EXPAND_SZ or MULTI_SZ.
	Type string `input:"type,required"`
}

// Types of registry values.
const (
	registryBinary   = "BINARY"
	registryDWord    = "DWORD"
	registryQWord    = "QWORD"
	registryText     = "SZ"
	registryExpanded = "EXPAND_SZ"
	registryTexts    = "MULTI_SZ"
)

// registryData is a value to write; which field holds it depends on the type.
type registryData struct {
	bytes  []byte
	number uint64
	text   string
	texts  []string
}

// CheckInputs implements [component.InputsChecker].
func (in *SetRegistry) CheckInputs(report func(input, message, hint string)) {
	if _, _, err := registryKey(in.Path); err != nil {
		report("path", err.Error(), `it looks like HKLM:\SOFTWARE\Example`)
	}
	types := []string{registryBinary, registryDWord, registryQWord, registryText, registryExpanded, registryTexts}
	if !slices.Contains(types, in.kind()) {
		report("type", fmt.Sprintf("unknown type %q", in.Type), "known are "+strings.Join(types, ", "))
		return
	}
	if _, err := in.data(); err != nil {
		report("value", err.Error(), "")
	}
}

// Run implements [component.Action].
func (in SetRegistry) Run(_ context.Context, _ *component.Execution) (component.Outcome, error) {
	if err := onlyOnWindows("SetRegistry"); err != nil {
		return component.Outcome{}, err
	}
	hive, key, err := registryKey(in.Path)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("set registry: %s %w", in.Path, err)
	}
	data, err := in.data()
	if err != nil {
		return component.Outcome{}, fmt.Errorf("set registry: value %w", err)
	}
	name := in.Name
	if strings.EqualFold(name, "(default)") {
		name = ""
	}
	if err := writeRegistry(hive, key, name, in.kind(), data); err != nil {
		return component.Outcome{}, fmt.Errorf("set registry %s, value %s: %w", in.Path, in.Name, err)
	}
	return component.Outcome{}, nil
}

func (in SetRegistry) kind() string {
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(in.Type)), "REG_")
}

// registryKey splits the path of a key into the short name of its hive and the rest.
func registryKey(path string) (hive, key string, err error) {
	first, key, _ := strings.Cut(path, `\`)
	first = strings.ToUpper(strings.TrimSuffix(first, ":"))
	for short, long := range map[string]string{
		"HKCR": "HKEY_CLASSES_ROOT", "HKU": "HKEY_USERS", "HKLM": "HKEY_LOCAL_MACHINE", "HKCC": "HKEY_CURRENT_CONFIG", "HKCU": "HKEY_CURRENT_USER",
	} {
		if first == short || first == long {
			hive = short
		}
	}
	key = strings.Trim(key, `\`)
	switch {
	case hive == "":
		return "", "", fmt.Errorf("begins with no hive, but with %q", first)
	case key == "":
		return "", "", errors.New("names a hive, but no key in it")
	case slices.Contains(strings.Split(key, `\`), ""):
		return "", "", errors.New("has an empty part")
	}
	return hive, key, nil
}

func (in SetRegistry) data() (registryData, error) {
	list, scalar := in.Value.Kind == component.List, in.Value.Kind == component.Scalar
	var data registryData
	var err error
	switch kind := in.kind(); {
	case in.Value.Kind == component.Map:
		return data, errors.New("is a map")
	case list && kind == registryTexts:
		data.texts, err = registryList(in.Value)
	case list && kind == registryBinary:
		data.bytes, err = registryBytes(in.Value)
	case !scalar:
		return data, fmt.Errorf("must be a single value for type %s", kind)
	case kind == registryTexts:
		data.texts = []string{in.Value.Text}
	case kind == registryBinary:
		data.bytes, err = registryHex(in.Value.Text)
	case kind == registryDWord:
		data.number, err = registryNumber(in.Value.Text, 32)
	case kind == registryQWord:
		data.number, err = registryNumber(in.Value.Text, 64)
	default:
		data.text = in.Value.Text
	}
	if err != nil {
		return data, err
	}
	if slices.Contains(data.texts, "") {
		return data, errors.New("has an empty text in it, which would end the list")
	}
	return data, nil
}

func registryList(list *component.Node) ([]string, error) {
	texts := []string{}
	for i, item := range list.Items {
		if item.Kind != component.Scalar {
			return nil, fmt.Errorf("must be a list of single values, item %d is none", i)
		}
		texts = append(texts, item.Text)
	}
	return texts, nil
}

func registryBytes(list *component.Node) ([]byte, error) {
	texts, err := registryList(list)
	if err != nil {
		return nil, err
	}
	data := make([]byte, len(texts))
	for i, text := range texts {
		number, err := registryNumber(text, 8)
		if err != nil {
			return nil, fmt.Errorf("has as item %d no byte: %w", i, err)
		}
		data[i] = byte(number)
	}
	return data, nil
}

// registryHex reads bytes as reg.exe and .reg files write them: 0AFF, 0x0AFF, "0A FF", 0a,ff.
func registryHex(text string) ([]byte, error) {
	digits := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "0x")
	data, err := hex.DecodeString(strings.NewReplacer(" ", "", ",", "").Replace(digits))
	if err != nil {
		return nil, errors.New("must be two hexadecimal digits per byte, or a list of bytes")
	}
	return data, nil
}

// registryNumber reads a whole number. Negative ones are stored as two's complement.
func registryNumber(text string, bits int) (uint64, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		if number, err := strconv.ParseUint(digits, 16, bits); err == nil {
			return number, nil
		}
	} else if number, err := strconv.ParseUint(cutFraction(text), 10, bits); err == nil {
		return number, nil
	} else if number, err := strconv.ParseInt(cutFraction(text), 10, bits); err == nil {
		return uint64(number) & (1<<bits - 1), nil
	}
	return 0, fmt.Errorf("must be a whole number of %d bits, not %q", bits, text)
}

// cutFraction removes a fraction: an example of the service's own documentation writes the DWORD 1.1.
func cutFraction(text string) string {
	whole, fraction, _ := strings.Cut(text, ".")
	if strings.Trim(fraction, "0123456789") != "" {
		return text
	}
	return whole
}

package action

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"
)

func writeRegistry(hive, path, name, kind string, data registryData) (err error) {
	root, ok := map[string]registry.Key{
		"HKCR": registry.CLASSES_ROOT, "HKU": registry.USERS, "HKLM": registry.LOCAL_MACHINE,
		"HKCC": registry.CURRENT_CONFIG, "HKCU": registry.CURRENT_USER,
	}[hive]
	if !ok {
		return fmt.Errorf("unknown hive %s", hive)
	}
	key, _, err := registry.CreateKey(root, path, registry.SET_VALUE)
	if err != nil {
		return fmt.Errorf("open or make the key: %w", err)
	}
	defer func() { err = errors.Join(err, key.Close()) }()
	switch kind {
	case registryBinary:
		return key.SetBinaryValue(name, data.bytes)
	case registryDWord:
		return key.SetDWordValue(name, uint32(data.number))
	case registryQWord:
		return key.SetQWordValue(name, data.number)
	case registryText:
		return key.SetStringValue(name, data.text)
	case registryExpanded:
		return key.SetExpandStringValue(name, data.text)
	case registryTexts:
		return key.SetStringsValue(name, data.texts)
	}
	return fmt.Errorf("unknown type %s", kind)
}

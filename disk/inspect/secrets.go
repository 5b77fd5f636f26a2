package inspect

import (
	"regexp"
	"strings"
)

// What stands for a secret in a report.
const hidden = "***"

var (
	// Names of options whose values are secrets: mount.cifs(8), mount.ceph(8), dracut.cmdline(7) and what is named like them. Names of files with
	// secrets, such as credentials= and secretfile=, are none.
	secretName = regexp.MustCompile(`(?i)^[\w.-]*(?:pass|password|passwd|passphrase|secret|token|rootpw)[0-9]?$`)
	// systemd.system-credentials(7): the credential's name may be told.
	credential = regexp.MustCompile(`(?i)^systemd[._]set[_-]credential(?:[_-]binary)?$`)
	// A password before a host, as in URLs.
	userInfo = regexp.MustCompile(`([^\s:@/]+):([^\s@/][^\s@]*)@`)
)

// withoutSecret hides what is secret in an option such as password=VALUE, in quotes or not.
func withoutSecret(option string) string {
	name, value, ok := strings.Cut(option, "=")
	bare := strings.TrimLeft(name, `"'`)
	switch {
	case !ok || value == "":
		return option
	case credential.MatchString(bare):
		id, _, _ := strings.Cut(value, ":")
		return bare + "=" + id + ":" + hidden
	case secretName.MatchString(bare):
		return bare + "=" + hidden
	}
	return userInfo.ReplaceAllString(option, "$1:"+hidden+"@")
}

// withoutSecrets hides what is secret in options that a sign separates, but not within quotes. Two signs stand for one in a value where doubled says so.
func withoutSecrets(options string, separator byte, doubled bool) string {
	var out strings.Builder
	start, quote := 0, byte(0)
	for i := 0; i < len(options); i++ {
		switch c := options[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' && !doubled:
			if strings.IndexByte(options[i+1:], c) >= 0 {
				quote = c
			}
		case c == separator && doubled && i+1 < len(options) && options[i+1] == separator:
			i++
		case c == separator:
			out.WriteString(withoutSecret(options[start:i]))
			out.WriteByte(separator)
			start = i + 1
		}
	}
	out.WriteString(withoutSecret(options[start:]))
	return out.String()
}

// reported is a line of fstab without what is secret in it: passwords of network file systems.
func (m Mount) reported() Mount {
	m.Source = userInfo.ReplaceAllString(m.Source, "$1:"+hidden+"@")
	m.Options = withoutSecrets(m.Options, ',', true)
	return m
}

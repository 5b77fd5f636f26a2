package inspect

import (
	"strings"
	"testing"
)

func TestFstabSecrets(t *testing.T) {
	for _, test := range []struct{ line, source, options string }{
		{"//srv/x /mnt cifs username=u,password=SECRET123,uid=1", "//srv/x", "username=u,password=***,uid=1"},
		{"//srv/x /mnt cifs ro,pass=SE,,CRET,password2=SECRET", "//srv/x", "ro,pass=***,password2=***"},
		{`//srv/x /mnt cifs PASSWD="SEC,RET",ro`, "//srv/x", `PASSWD=***,ro`},
		{"//srv/x /mnt cifs credentials=/etc/cifs,vers=3.0", "//srv/x", "credentials=/etc/cifs,vers=3.0"},
		{"1.2.3.4:/ /mnt ceph name=admin,secret=SECRET==,secretfile=/etc/s", "1.2.3.4:/", "name=admin,secret=***,secretfile=/etc/s"},
		{"https://u:SEC/RET@dav.example/x /mnt davfs rw", "https://u:***@dav.example/x", "rw"},
		{"nfs.example:/export@1 /mnt nfs rw,addr=1.2.3.4", "nfs.example:/export@1", "rw,addr=1.2.3.4"},
		{"UUID=1234-5678 /boot vfat umask=0077,password", "UUID=1234-5678", "umask=0077,password"},
	} {
		m := rootOfFiles(map[string][]byte{"etc/fstab": []byte(test.line + " 0 0\n")})
		m.contents, m.root = &contents{}, &volume{}
		m.fstab = parseFstab(test.line)
		s, err := m.system(t.Context(), &Boot{})
		if err != nil || len(s.Fstab) != 1 || s.Fstab[0].Source != test.source || s.Fstab[0].Options != test.options {
			t.Errorf("%s: %+v, %v", test.line, s, err)
		}
	}
}

func TestCommandLineSecrets(t *testing.T) {
	for options, want := range map[string]string{
		"ro systemd.set_credential=login.root:SECRET quiet":              "ro systemd.set_credential=login.root:*** quiet",
		`systemd.set_credential_binary="a:SECRET SECRET" quiet`:          "systemd.set_credential_binary=a:*** quiet",
		`"systemd.set_credential=a:SECRET SECRET" quiet`:                 "systemd.set_credential=a:*** quiet",
		"rd.iscsi.password=SECRET inst.vncpassword=SECRET ip=dhcp":       "rd.iscsi.password=*** inst.vncpassword=*** ip=dhcp",
		"netroot=iscsi:u:SECRET@1.2.3.4::::iqn root=LABEL=x":             "netroot=iscsi:***@1.2.3.4::::iqn root=LABEL=x",
		"root=UUID=1-2 ro console=ttyS0,115200n8 nvme_core.io_timeout=9": "root=UUID=1-2 ro console=ttyS0,115200n8 nvme_core.io_timeout=9",
	} {
		for name, text := range map[string]string{
			"boot/grub/grub.cfg":         "menuentry A {\nlinux /a " + options + "\n}\n",
			"boot/grub/menu.lst":         "title A\nkernel /a " + options + "\n",
			"boot/extlinux.conf":         "label A\nkernel /a\nappend " + options + "\n",
			"boot/loader/entries/a.conf": "linux /a\noptions " + options + "\n",
		} {
			var b Boot
			rootOfFiles(map[string][]byte{name: []byte(text)}).bootConfigs(&b)
			if len(b.Entries) != 1 || strings.ReplaceAll(strings.ReplaceAll(b.Entries[0].Options, `"`, ""), "  ", " ") != want {
				t.Errorf("%s, %s: %+v, want %s", name, options, b.Entries, want)
			}
		}
	}
	var b Boot // from GRUB's environment
	rootOfFiles(map[string][]byte{"boot/grub2/grubenv": []byte("# GRUB Environment Block\nkernelopts=ro systemd.set_credential=a:SECRET\n"),
		"boot/loader/entries/a.conf": []byte("linux /a\noptions $kernelopts\n")}).bootConfigs(&b)
	if len(b.Entries) != 1 || b.Entries[0].Options != "ro systemd.set_credential=a:***" {
		t.Errorf("%+v", b.Entries)
	}
}

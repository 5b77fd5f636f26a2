package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestPasswordState(t *testing.T) {
	const yescrypt, sha512 = "$y$j9T$AAAAAAAAAAAAAAAAAAAAAA$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$6$CCCCCCCC$dddddddddddddddddddddddddddd"
	for field, want := range map[string]string{
		"": "empty", "*": "none", "!": "none", "!!": "none", "!*": "none", "x": "none", "*LK*": "none", "!locked": "none", "*NP*": "none", "*" + sha512: "none",
		"no password at all": "none", yescrypt: "set", sha512: "set", "!" + yescrypt: "locked", "!!" + yescrypt: "locked", "aaZqS8ZkIBpIA": "set",
	} {
		if got := passwordState(field); got != want {
			t.Errorf("%q: %s, want %s", field, got, want)
		}
	}
}

// counting counts what is opened, and fails one file.
type counting struct {
	fstest.MapFS
	opened map[string]int
	broken string
}

func (c counting) Open(name string) (fs.File, error) {
	c.opened[name]++
	if name == c.broken {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("input/output error")}
	}
	return c.MapFS.Open(name)
}

// A hostile passwd has as many accounts as it likes, all with the same home, whose keys are read once.
func TestReadAccounts(t *testing.T) {
	var passwd strings.Builder
	passwd.WriteString("root:x:0:0::/root:/bin/sh\nroot:x:1:1::/:/bin/sh\nbad:x:y:1::/:/bin/sh\n+::::::\n")
	for i := range 80000 {
		fmt.Fprintf(&passwd, "u%d:*:%d:1::/h:/bin/sh\n", i, i)
	}
	system := counting{mapFS(map[string]string{"etc/passwd": passwd.String(), "etc/shadow": "root:!:1\n", "h/.ssh/authorized_keys": strings.Repeat("k\n", 500<<10),
		"h/.ssh/id": "-----BEGIN OPENSSH PRIVATE KEY-----\n", "root/.ssh/authorized_keys": "k\n"}), map[string]int{}, "root/.ssh/authorized_keys"}
	var problems []string
	defer quick(t, 10*time.Second)()
	accounts, err := ReadAccounts(t.Context(), system, func(name string, err error) { problems = append(problems, name+": "+err.Error()) })
	if err != nil || len(accounts) != maxUsers || accounts[0].Name != "root" || accounts[0].UID != 0 || accounts[1].Name != "u0" {
		t.Fatalf("%d accounts, %v", len(accounts), err)
	}
	if a := accounts[maxUsers-1]; a.AuthorizedKeys != 500<<10 || len(a.PrivateKeys) != 1 || a.PrivateKeys[0] != "/h/.ssh/id" {
		t.Errorf("%+v", a)
	}
	equal(t, "problems", problems, []string{"root/.ssh/authorized_keys: input/output error", "etc/passwd: it has more than 65536 accounts, the rest is passed over"})
	if n := system.opened["h/.ssh/authorized_keys"]; n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
	if !accounts[1].SamePassword(accounts[2]) || accounts[0].SamePassword(accounts[1]) {
		t.Error("passwords are mistaken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadAccounts(ctx, system, func(string, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ingot-image/ingot/qemu"
)

// login is what came of logging in with the key.
type login struct {
	user string // who was let in
	err  error
}

// logIn logs in by SSH as the first of the users that is let in, and runs a command.
func (r *rehearsal) logIn(ctx context.Context, vm *qemu.VM, signer ssh.Signer, users []string, nonce string) *login {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(vm.Forwards()[0].HostPort))
	l := &login{err: errors.New("the key is in no account's authorized_keys")}
	wait := qemu.Wait{Name: "a login by SSH", Limit: loginLimit, Hint: "the guest's sshd does not answer"}
	err := vm.Await(ctx, wait, func(ctx context.Context) error {
		for _, user := range users {
			for {
				err := sshOnce(ctx, address, user, signer, nonce)
				if err == nil {
					l.user, l.err = user, nil
					return nil
				}
				if l.err = fmt.Errorf("%s: %w", user, err); refusedKey(err) {
					break
				}
				if err := sleep(ctx, time.Second); err != nil { // sshd may be starting still
					return l.err
				}
			}
		}
		return l.err
	})
	if l.user == "" && err != nil && l.err == nil {
		l.err = err
	}
	return l
}

// refusedKey tells whether it was sshd that said no.
func refusedKey(err error) bool { return strings.Contains(err.Error(), "unable to authenticate") }

// sshOnce logs in and has the guest say a word.
func sshOnce(ctx context.Context, address, user string, signer ssh.Signer, word string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// The guest is reached by a port of this machine that leads nowhere else, and its host key was made a moment ago: there is nothing to compare it with.
	session, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	client := ssh.NewClient(session, channels, requests)
	defer client.Close()
	run, err := client.NewSession()
	if err != nil {
		return err
	}
	defer run.Close()
	out, err := run.Output("echo " + word)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out)) != word {
		return fmt.Errorf("the shell answers %.60q", out)
	}
	return nil
}

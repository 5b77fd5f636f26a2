package action

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// WebDownload downloads files by HTTP and HTTPS. Redirects are followed, and a failed download is tried again up to four times, after 1, 2,
// 4 and 8 seconds, unless the server says that the request itself is wrong. A destination that ends in a slash is a folder, in which the
// file gets the last part of the source's path as its name. Missing parent folders are made. The file appears when it is complete;
// one that is replaced hands on its owner and permissions. A symbolic link at the destination is followed.
//
// The download is verified if checksum and algorithm are both given; then a file that is there already and has the right checksum is not
// downloaded again.
//
// The output destination holds the paths of the files, one a line.
//
//	steps:
//	  - name: Installer
//	    action: WebDownload
//	    inputs:
//	      - source: https://example.com/app/1.2/installer.run
//	        destination: /tmp/
//	        checksum: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	        algorithm: SHA256
type WebDownload struct {
	// Source is the URL.
	Source string `input:"source,required"`
	// Destination is the file, or a folder with a slash at its end.
	Destination string `input:"destination,required"`
	// Overwrite false makes it an error that the destination exists.
	Overwrite bool `input:"overwrite" default:"true"`
	// Checksum is that of the file, in hexadecimal.
	Checksum string `input:"checksum"`
	// Algorithm of the checksum: MD5, SHA1, SHA256 or SHA512.
	Algorithm Algorithm `input:"algorithm"`
	// IgnoreCertificateErrors accepts any certificate of the server.
	IgnoreCertificateErrors bool `input:"ignoreCertificateErrors" default:"false"`
}

// Algorithm is one of checksums.
type Algorithm struct {
	name string
	hash func() hash.Hash
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *Algorithm) UnmarshalText(text []byte) error {
	known := map[string]func() hash.Hash{"MD5": md5.New, "SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}
	name := strings.ToUpper(strings.TrimSpace(string(text)))
	found, ok := known[name]
	if !ok {
		return fmt.Errorf("unknown algorithm %q: known are MD5, SHA1, SHA256, SHA512", text)
	}
	*a = Algorithm{name, found}
	return nil
}

// CheckInputs implements [component.InputsChecker].
func (in *WebDownload) CheckInputs(report func(input, message, hint string)) {
	source, err := url.Parse(in.Source)
	switch {
	case err != nil || source.Host == "":
		report("source", "is no URL", "")
	case source.Scheme != "http" && source.Scheme != "https":
		report("source", fmt.Sprintf("has the scheme %q", source.Scheme), "it must be http or https")
	case isFolder(in.Destination) && fileName(source) == "":
		report("source", "has no file name", "name the file in destination")
	}
	if in.Checksum == "" || in.Algorithm.hash == nil {
		return
	}
	sum, err := hex.DecodeString(strings.TrimSpace(in.Checksum))
	if err != nil || len(sum) != in.Algorithm.hash().Size() {
		report("checksum", fmt.Sprintf("is no %s checksum", in.Algorithm.name),
			fmt.Sprintf("one has %d hexadecimal digits", 2*in.Algorithm.hash().Size()))
	}
}

// fileName returns the last part of a URL's path, "" if there is none that can be the name of a file.
func fileName(u *url.URL) string {
	name := path.Base(u.Path)
	if strings.HasSuffix(u.Path, "/") || name == "." || name == ".." || name == "/" || strings.ContainsAny(name, "\\\x00") {
		return ""
	}
	return name
}

// Run implements [component.Action].
func (in WebDownload) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	source, err := url.Parse(in.Source)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("web download: %w", err)
	}
	destination, told := x.Path(in.Destination), in.Destination
	if isFolder(in.Destination) {
		destination = filepath.Join(destination, fileName(source))
		told += fileName(source)
	}
	outcome := component.Outcome{Outputs: map[string]string{"destination": x.DocumentPath(destination)}}
	if (in.Checksum == "") != (in.Algorithm.hash == nil) {
		x.Notice("the download is not verified: that takes both checksum and algorithm")
	}
	if _, err := os.Lstat(destination); err == nil && !in.Overwrite {
		return outcome, fmt.Errorf("web download to %s: it exists, and overwrite is false", told)
	}
	if err := checkPlace(destination, in.Overwrite); err != nil {
		return outcome, fmt.Errorf("web download to %s: %w", told, spelled(err, x, told))
	}
	if in.verify() && in.matches(ctx, destination) {
		x.Notice(told + " has the right checksum already")
		return outcome, nil
	}
	err = retry(ctx, x, func() error { return spelled(in.download(ctx, x, destination), x, told) })
	if err != nil {
		return outcome, fmt.Errorf("web download from %s: %w", withoutSecrets(source), err)
	}
	return outcome, nil
}

func (in WebDownload) verify() bool { return in.Checksum != "" && in.Algorithm.hash != nil }

// matches tells whether a file is there and has the right checksum.
func (in WebDownload) matches(ctx context.Context, path string) bool {
	if mustBeFile(path) != nil {
		return false
	}
	file, err := openSource(ctx, path)
	if err != nil {
		return false
	}
	defer file.Close()
	sum := in.Algorithm.hash()
	_, err = io.Copy(sum, file)
	return err == nil && in.check(sum) == nil
}

func (in WebDownload) check(sum hash.Hash) error {
	got := hex.EncodeToString(sum.Sum(nil))
	if want := strings.TrimSpace(in.Checksum); !strings.EqualFold(got, want) {
		return permanentError{fmt.Errorf("the %s checksum is %s, not %s", in.Algorithm.name, got, strings.ToLower(want))}
	}
	return nil
}

func (in WebDownload) download(ctx context.Context, x *component.Execution, destination string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, in.Source, nil)
	if err != nil {
		return permanentError{err}
	}
	response, err := x.HTTP(in.IgnoreCertificateErrors).Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the rest of it repeats the URL, with whatever secrets its query has
		}
		return err
	}
	defer response.Body.Close()
	if err := statusError(response); err != nil {
		return err
	}
	return replaceFile(destination, in.Overwrite, func(w *os.File) error {
		var to io.Writer = w
		var sum hash.Hash
		if in.verify() {
			sum = in.Algorithm.hash()
			to = io.MultiWriter(w, sum)
		}
		if _, err := io.Copy(to, response.Body); err != nil {
			if _, disk := errors.AsType[*fs.PathError](err); disk {
				return permanentError{err}
			}
			return err
		}
		if sum == nil {
			return nil
		}
		return in.check(sum)
	})
}

// statusError makes every status but 200 an error, permanent if the request is at fault.
func statusError(response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	err := fmt.Errorf("the server answered %s", response.Status)
	switch code := response.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code < 400, code >= 500:
		return err
	}
	return permanentError{err}
}

// withoutSecrets returns a URL without password and query, where signatures and tokens are.
func withoutSecrets(u *url.URL) string {
	plain := *u
	plain.RawQuery, plain.Fragment = "", ""
	return plain.Redacted()
}

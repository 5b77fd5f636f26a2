package imds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== someone"

// guest asks the service as a program in a guest does.
type guest struct {
	t       *testing.T
	service *Service
	token   string
}

func (g *guest) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("User-Agent", "Cloud-Init/22.4.2")
	if g.token != "" {
		r.Header.Set(TokenHeader, g.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	g.service.ServeHTTP(w, r)
	return w
}

func newGuest(t *testing.T, i Instance) *guest {
	g := &guest{t: t, service: New(i)}
	w := g.do(http.MethodPut, "/latest/api/token", TTLHeader, "60")
	if w.Code != 200 || w.Header().Get(TTLHeader) != "60" {
		t.Fatalf("the token: %d %q", w.Code, w.Header())
	}
	g.token = w.Body.String()
	return g
}

func TestTokens(t *testing.T) {
	g := newGuest(t, Instance{})
	token := g.token
	for _, c := range []struct {
		name, method, path, token string
		headers                   []string
		want                      int
	}{
		{"version 1", "GET", "/latest/meta-data/", "", nil, 401},
		{"a token nobody gave", "GET", "/latest/meta-data/", "AQAAA", nil, 401},
		{"a page that is not there, without a token", "GET", "/latest/nothing", "", nil, 401},
		{"with the token", "GET", "/latest/meta-data/", token, nil, 200},
		{"HEAD", "HEAD", "/latest/meta-data/", token, nil, 200},
		{"POST", "POST", "/latest/meta-data/", token, nil, 405},
		{"no time to live", "PUT", "/latest/api/token", "", nil, 400},
		{"too long", "PUT", "/latest/api/token", "", []string{TTLHeader, "21601"}, 400},
		{"none at all", "PUT", "/latest/api/token", "", []string{TTLHeader, "0"}, 400},
		{"no number", "PUT", "/latest/api/token", "", []string{TTLHeader, "long"}, 400},
		{"through a proxy", "PUT", "/latest/api/token", "", []string{TTLHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"GET of a token", "GET", "/latest/api/token", token, nil, 405},
		{"PUT elsewhere", "PUT", "/latest/meta-data/", token, []string{TTLHeader, "60"}, 405},
	} {
		g.token = c.token
		if w := g.do(c.method, c.path, c.headers...); w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		} else if c.method == "HEAD" && w.Body.Len() > 0 {
			t.Errorf("%s: a body", c.name)
		} else if page := fmt.Sprintf("<title>%d - %s</title>", c.want, http.StatusText(c.want)); c.want != 200 && (!strings.Contains(w.Body.String(), page) || w.Header().Get("Content-Type") != "text/html") {
			t.Errorf("%s: %s of type %s, want %s", c.name, w.Body, w.Header().Get("Content-Type"), page)
		}
	}
	g.token = token
	g.service.now = func() time.Time { return time.Now().Add(time.Minute) }
	if w := g.do("GET", "/latest/meta-data/"); w.Code != 401 {
		t.Errorf("after its time the token gives %d", w.Code)
	}
	g.service.now = time.Now
	for range maxTokens + 10 { // a guest cannot make it remember without end
		g.do("PUT", "/latest/api/token", TTLHeader, "60")
	}
	if n := len(g.service.tokens); n > maxTokens {
		t.Errorf("%d tokens", n)
	}
}

func TestTree(t *testing.T) {
	userData := []byte("#!/bin/sh\necho \x00\xff\n")
	g := newGuest(t, Instance{PublicKey: key, UserData: userData, MAC: "02:AB:cd:00:00:01", Volumes: []string{"/dev/sdf", "xvdg"}})
	for path, want := range map[string]string{
		"/latest/meta-data/ami-id":                                           "ami-0123456789abcdef0",
		"/2021-03-23/meta-data/instance-id":                                  "i-0123456789abcdef0",
		"/latest/meta-data/public-keys":                                      "0=rehearsal",
		"/latest/meta-data/public-keys/":                                     "0=rehearsal",
		"/latest/meta-data/public-keys/0/":                                   "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":                        key + "\n",
		"/latest/meta-data/network/interfaces/macs/":                         "02:ab:cd:00:00:01/",
		"/latest/meta-data/network/interfaces/macs/02:ab:cd:00:00:01/vpc-id": "vpc-0123456789abcdef0",
		"/latest/meta-data/local-hostname":                                   "ip-169-254-0-15.ec2.internal",
		"/latest/meta-data/placement/":                                       "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/block-device-mapping/":                            "ami\nebs1\nebs2\nroot",
		"/latest/meta-data/block-device-mapping/ebs1":                        "sdf",
		"/2019-10-01/meta-data/block-device-mapping/ebs2":                    "xvdg",
		"/latest/dynamic/":                                                   "instance-identity/",
		"/latest/dynamic/instance-identity/":                                 "document\npkcs7\nrsa2048\nsignature",
		"/latest/":                                                           "dynamic/\nmeta-data/\nuser-data",
		"/latest/user-data":                                                  string(userData),
		"/latest/meta-data/services/domain":                                  "amazonaws.com",
	} {
		if w := g.do("GET", path); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %q, want %q", path, w.Code, w.Body, want)
		}
	}
	for _, path := range []string{"/latest/meta-data/iam/", "/latest/meta-data/iam/security-credentials/", "/1999-01-01/meta-data/", "/latest/meta-data/ami-id/x", "/latest/meta-data/public-ipv4"} {
		if w := g.do("GET", path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := g.do("GET", "/"); w.Code != 200 || !strings.HasSuffix(w.Body.String(), "\nlatest") {
		t.Errorf("the versions: %d %q", w.Code, w.Body)
	}
	bare := newGuest(t, Instance{})
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/public-keys/"} {
		if w := bare.do("GET", path); w.Code != 404 {
			t.Errorf("%s of an instance without: %d", path, w.Code)
		}
	}
}

// TestTreeWalk follows every entry of every folder, as cloud-init does, and must find a leaf at each end.
func TestTreeWalk(t *testing.T) {
	g := newGuest(t, Instance{PublicKey: key, UserData: []byte("x")})
	leaves := 0
	var walk func(folder string)
	walk = func(folder string) {
		w := g.do("GET", folder)
		if w.Code != 200 {
			t.Fatalf("%s: %d", folder, w.Code)
		}
		for entry := range strings.SplitSeq(w.Body.String(), "\n") {
			if number, _, ok := strings.Cut(entry, "="); ok {
				entry = number + "/"
			}
			if strings.HasSuffix(entry, "/") {
				walk(folder + entry)
			} else if w := g.do("GET", folder+entry); w.Code != 200 {
				t.Errorf("%s%s: %d", folder, entry, w.Code)
			} else {
				leaves++
			}
		}
	}
	walk("/latest/")
	if leaves != len(g.service.leaves) {
		t.Errorf("%d leaves were found, want %d", leaves, len(g.service.leaves))
	}
}

func TestIdentity(t *testing.T) {
	g := newGuest(t, Instance{Region: "eu-west-1"})
	var info struct{ Code, AccountID string }
	if err := json.Unmarshal(g.do("GET", "/latest/meta-data/identity-credentials/ec2/info").Body.Bytes(), &info); err != nil || info.Code != "Success" || info.AccountID != "123456789012" {
		t.Errorf("%+v, %v", info, err)
	}
	var document struct{ AccountID, InstanceID, ImageID, Region, AvailabilityZone, PendingTime string }
	if err := json.Unmarshal(g.do("GET", "/latest/dynamic/instance-identity/document").Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if document.Region != "eu-west-1" || document.AvailabilityZone != "eu-west-1a" || document.ImageID != "ami-0123456789abcdef0" || document.InstanceID != "i-0123456789abcdef0" {
		t.Errorf("%+v", document)
	}
	if _, err := time.Parse(time.RFC3339, document.PendingTime); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"pkcs7", "signature", "rsa2048"} {
		text := g.do("GET", "/latest/dynamic/instance-identity/"+kind).Body.Bytes()
		if data, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(text, []byte("\n"), nil))); err != nil || len(data) < 128 {
			t.Errorf("%s: %d bytes, %v", kind, len(data), err)
		}
	}
}

func TestRequests(t *testing.T) {
	g := newGuest(t, Instance{})
	changed := g.service.Changed()
	select {
	case <-changed:
		t.Error("there was no request")
	default:
	}
	g.do("GET", "/latest/meta-data/iam/")
	<-changed
	got := g.service.Requests()
	if len(got) != 2 || got[0].Method != "PUT" || got[1].Path != "/latest/meta-data/iam/" || got[1].Status != 404 || got[1].UserAgent != "Cloud-Init/22.4.2" {
		t.Errorf("%+v", got)
	}
	for i := range maxRequests + 5 {
		g.do("GET", fmt.Sprintf("/latest/%d%s", i, strings.Repeat("é", 200)))
	}
	got = g.service.Requests()
	if len(got) != maxRequests || got[0].Method != "PUT" || !strings.HasPrefix(got[maxRequests-1].Path, fmt.Sprintf("/latest/%d", maxRequests+4)) {
		t.Errorf("%d are remembered, from %+v", len(got), got[0])
	}
	if n := len(got[maxRequests-1].Path); n > maxText+2 {
		t.Errorf("a path of %d bytes", n)
	}
}

package ec2sim

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
)

const templateData = "LaunchTemplateData."

// templateVersion is one version of a launch template.
type templateVersion struct {
	place
	template, number string
}

// launchTemplate passes CreateLaunchTemplate and CreateLaunchTemplateVersion to moto, which does not know what a version's source is: a new version
// has all of its source's data that the request does not give (CreateLaunchTemplateVersion, SourceVersion). Nor does it know client tokens.
func (s *Server) launchTemplate(w http.ResponseWriter, c *call) {
	s.mu.Lock()
	before, again := s.templateTokens[c.token()]
	data := s.inherited(c)
	s.mu.Unlock()
	if again {
		replay(w, before)
		return
	}
	sent := url.Values{}
	for key, values := range c.form.values {
		sent[key] = values
	}
	for key, values := range data {
		sent[key] = values
	}
	body := sent.Encode()
	c.http.Body = io.NopCloser(strings.NewReader(body))
	c.http.ContentLength = int64(len(body))
	c.http.Header.Set("Content-Length", strconv.Itoa(len(body)))
	answer := httptest.NewRecorder()
	s.proxy.ServeHTTP(answer, c.http)
	var made struct {
		Template string `xml:"launchTemplate>launchTemplateId"`
		Of       string `xml:"launchTemplateVersion>launchTemplateId"`
		Version  string `xml:"launchTemplateVersion>versionNumber"`
	}
	if answer.Code == http.StatusOK && xml.NewDecoder(bytes.NewReader(answer.Body.Bytes())).Decode(&made) == nil {
		version := templateVersion{c.place(), made.Of, made.Version}
		if made.Template != "" {
			version.template, version.number = made.Template, "1"
		}
		s.mu.Lock()
		s.templates[version] = dataOf(sent)
		if token := c.token(); token != "" {
			s.templateTokens[token] = answer
		}
		s.mu.Unlock()
	}
	replay(w, answer)
}

// inherited is a new version's data: its own, and of its source the members that it does not give. The server is locked.
func (s *Server) inherited(c *call) url.Values {
	data := dataOf(c.form.values)
	source := c.form.get("SourceVersion")
	if source == "" {
		return data
	}
	member := func(key string) string {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, templateData), ".")
		return name
	}
	given := map[string]bool{}
	for key := range data {
		given[member(key)] = true
	}
	for key, values := range s.templates[templateVersion{c.place(), c.form.get("LaunchTemplateId"), source}] {
		if !given[member(key)] {
			data[key] = values
		}
	}
	return data
}

func dataOf(values url.Values) url.Values {
	data := url.Values{}
	for key, v := range values {
		if strings.HasPrefix(key, templateData) {
			data[key] = v
		}
	}
	return data
}

// replay gives a kept answer.
func replay(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

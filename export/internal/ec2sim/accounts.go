package ec2sim

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
)

// assumeRole lets an account act in another one: moto makes the credentials, and from here on they are those of the role's account.
func (s *Server) assumeRole(w http.ResponseWriter, c *call) {
	part := strings.SplitN(c.form.get("RoleArn"), ":", 6) // arn:aws:iam::ACCOUNT:role/NAME
	if len(part) != 6 || !strings.HasPrefix(part[5], "role/") {
		answerFault(w, c.Service, refuse("ValidationError", "%s is invalid", c.form.get("RoleArn")))
		return
	}
	account := part[4]
	answer := httptest.NewRecorder()
	s.proxy.ServeHTTP(answer, c.http)
	var made struct {
		Key string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	}
	if answer.Code == http.StatusOK && xml.Unmarshal(answer.Body.Bytes(), &made) == nil && made.Key != "" {
		s.mu.Lock()
		s.accounts[made.Key] = account
		s.mu.Unlock()
	}
	replay(w, answer)
}

package ec2sim

import (
	"encoding/json"
	"net/http"
	"strings"
)

type licenseSpecification struct{ LicenseConfigurationArn string }

// licenseManager answers for the license configurations of AMIs (License Manager API reference): any that is of the region may be associated.
func (s *Server) licenseManager(w http.ResponseWriter, c *call) {
	var in struct {
		ResourceArn                                           string
		AddLicenseSpecifications, RemoveLicenseSpecifications []licenseSpecification
	}
	if err := json.NewDecoder(c.http.Body).Decode(&in); err != nil {
		answerFault(w, c.Service, refuse("SerializationException", "%v", err))
		return
	}
	id, of := strings.CutPrefix(in.ResourceArn, "arn:aws:ec2:"+c.Region+"::image/")
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	if !of || i == nil || i.place != c.place() {
		answerFault(w, c.Service, refuse("InvalidParameterValueException", "Invalid resource ARN %s", in.ResourceArn))
		return
	}
	answer := map[string]any{}
	if c.Action == "ListLicenseSpecificationsForResource" {
		all := []licenseSpecification{}
		for _, arn := range i.licenses {
			all = append(all, licenseSpecification{arn})
		}
		answer["LicenseSpecifications"] = all
	}
	for _, add := range in.AddLicenseSpecifications {
		if !strings.HasPrefix(add.LicenseConfigurationArn, "arn:aws:license-manager:"+c.Region+":"+c.Account+":") {
			answerFault(w, c.Service, refuse("InvalidParameterValueException", "License configuration %s not found", add.LicenseConfigurationArn))
			return
		}
		i.licenses = append(i.licenses, add.LicenseConfigurationArn)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(answer)
}

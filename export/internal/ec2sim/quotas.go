package ec2sim

import (
	"encoding/json"
	"net/http"
)

// quota is one of Service Quotas, with AWS's default (AWS General Reference, "Service endpoints and quotas").
type quota struct {
	service, name string
	value         float64
}

func quotas() map[string]quota {
	return map[string]quota{
		"L-66ABAAD5": {"vmimportexport", "Concurrent task limit for ImportImage, ImportSnapshot, and ExportImage", 20},
		"L-94D7AB7D": {"ebs", "Pending snapshots per account", 100},
		"L-0E3CBAB9": {"ec2", "Public AMIs", 5},
	}
}

// SetQuota gives an account's region a value of its own for a quota. Nothing here keeps to quotas: they are only told.
func (s *Server) SetQuota(region, account, code string, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied[appliedQuota{place{account, region}, code}] = value
}

// appliedQuota is a quota where an account has another value than AWS's default.
type appliedQuota struct {
	place
	code string
}

// serviceQuota answers GetServiceQuota, which knows only values of the account's own, and GetAWSDefaultServiceQuota.
func (s *Server) serviceQuota(w http.ResponseWriter, c *call) {
	var in struct{ ServiceCode, QuotaCode string }
	if err := json.NewDecoder(c.http.Body).Decode(&in); err != nil {
		answerFault(w, c.Service, refuse("SerializationException", "%v", err))
		return
	}
	q, known := quotas()[in.QuotaCode]
	value, own := q.value, true
	if c.Action == "GetServiceQuota" {
		s.mu.Lock()
		value, own = s.applied[appliedQuota{c.place(), in.QuotaCode}]
		s.mu.Unlock()
	}
	if !known || !own || q.service != in.ServiceCode {
		answerFault(w, c.Service, refuse("NoSuchResourceException", "The request failed because the specified service quota does not exist."))
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(map[string]any{"Quota": map[string]any{"ServiceCode": q.service, "QuotaCode": in.QuotaCode, "QuotaName": q.name, "Value": value, "Adjustable": true}})
}

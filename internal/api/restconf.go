package api

import (
	"encoding/json"
	"net/http"
)

// alarms answers the data of RFC 8632, read-only, as RESTCONF encodes it
// (RFC 8040 section 3.2, RFC 7951).
func (s *Server) alarms(w http.ResponseWriter, r *http.Request) error {
	doc, err := s.opts.Agent.Alarms(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yang-data+json")
	return json.NewEncoder(w).Encode(doc)
}

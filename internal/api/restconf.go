package api

import (
	"encoding/json"
	"net/http"

	"allclear/internal/wire"
)

// alarms answers the data of RFC 8632, read-only.
func (s *Server) alarms(w http.ResponseWriter, r *http.Request) error {
	doc, err := s.opts.Agent.Alarms(r.Context())
	if err != nil {
		return err
	}
	return WriteAlarms(w, doc)
}

// WriteAlarms sends the data of RFC 8632 as RESTCONF encodes it (RFC 8040
// section 3.2, RFC 7951).
func WriteAlarms(w http.ResponseWriter, doc wire.AlarmsDocument) error {
	w.Header().Set("Content-Type", "application/yang-data+json")
	return json.NewEncoder(w).Encode(doc)
}

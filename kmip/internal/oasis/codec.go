package oasis

import (
	"bytes"
	"fmt"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// Codec takes every message of the case from XML to TTLV, into the structs of package kmip, back to TTLV
// and back to XML, and tells where the result is not the same to the byte.
func Codec(c *Case) error {
	vs := &Vars{Now: time.Date(2013, 1, 11, 8, 18, 21, 0, time.UTC)}
	for i, s := range c.Steps {
		var request kmip.Request
		if err := s.Request.codec(vs, func(b []byte) ([]byte, error) {
			if err := request.Decode(b); err != nil {
				return nil, err
			}
			for _, it := range request.Items {
				if it.Err != nil {
					return nil, it.Err
				}
			}
			return request.Encode(), nil
		}); err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
		if s.Response.IsZero() {
			continue
		}
		var response kmip.Response
		if err := s.Response.codec(vs, func(b []byte) ([]byte, error) {
			if err := response.Decode(b); err != nil {
				return nil, err
			}
			for _, it := range response.Items {
				if it.Err != nil {
					return nil, it.Err
				}
			}
			return response.Encode(), nil
		}); err != nil {
			return fmt.Errorf("response %d: %w", i+1, err)
		}
	}
	return nil
}

// codec does it with one message; through is the way through the structs.
func (m Message) codec(vs *Vars, through func([]byte) ([]byte, error)) error {
	first, err := m.TTLV(vs)
	if err != nil {
		return fmt.Errorf("XML to TTLV: %w", err)
	}
	second, err := through(first)
	if err != nil {
		return fmt.Errorf("TTLV to struct: %w", err)
	}
	if !bytes.Equal(first, second) {
		return fmt.Errorf("struct to TTLV: %s", difference(first, second))
	}
	back, err := XML(second)
	if err != nil {
		return fmt.Errorf("TTLV to XML: %w", err)
	}
	want, err := m.XML(vs)
	if err != nil {
		return fmt.Errorf("XML as written: %w", err)
	}
	if !bytes.Equal(back, want) {
		return fmt.Errorf("TTLV to XML: line %d differs", firstLine(back, want))
	}
	return nil
}

func difference(a, b []byte) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	text, err := ttlv.Text(b, ttlv.HideSecrets)
	if err != nil {
		text = err.Error()
	}
	return fmt.Sprintf("byte %d of %d differs, or of %d:\n%s", i, len(a), len(b), text)
}

func firstLine(a, b []byte) int {
	la, lb := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	i := 0
	for i < min(len(la), len(lb)) && bytes.Equal(la[i], lb[i]) {
		i++
	}
	return i + 1
}

package keyserver

import (
	"testing"

	"allclear/internal/fault"
	"allclear/internal/lab"
)

// BenchmarkValidation is a full validation of our own clone and of our own master
// with a test key, each over a connection of its own. The budget is 20 ms.
func BenchmarkValidation(b *testing.B) {
	for name, c := range map[string]struct {
		server  string
		trigger fault.Trigger
	}{"clone": {siteClone, fault.TriggerTimer}, "master with a test key": {siteMaster, fault.TriggerOperator}} {
		b.Run(name, func(b *testing.B) {
			l, err := lab.New(b.Context(), b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			s, err := newSite(b.Context(), l)
			if err == nil {
				err = s.withKey(b.Context())
			}
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				res, err := s.node.validate(b.Context(), l.Resource(c.server), c.trigger)
				if err != nil || len(res.found) > 0 {
					b.Fatalf("%v, %v", err, res.names())
				}
			}
		})
	}
}

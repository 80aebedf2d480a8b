package keyserver

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
	"allclear/kmip"
)

// ProbeOptions say how to look at a key server without an agent.
type ProbeOptions struct {
	Address    string // host:port
	ServerName string // "" the host of Address
	Profile    string // "" is generic
	Pin        string // "SHA256:...", "" none
	CA         []byte // PEM; none: the system's
	Cert, Key  []byte // PEM
	MinKMIP    kmip.Version
	MinTLS     uint16
	LegacyTLS  bool
	Timeout    time.Duration // of one exchange; 0 is 10 s
	Slow       time.Duration // an exchange that takes longer is slow; 0 is 2 s
	Resolvers  []string
}

// Probe does the first nine steps of a validation. It makes, changes and reads no
// key. The server's own name in the report is its address.
func Probe(ctx context.Context, o ProbeOptions) wire.KMIPProbe {
	g := Group{
		Name: "probe", MinKMIP: o.MinKMIP, MinTLS: o.MinTLS, LegacyTLS: o.LegacyTLS, Timeout: o.Timeout, Slow: o.Slow,
	}.withDefaults()
	s := Server{
		Name: o.Address, Address: o.Address, ServerName: o.ServerName, Pin: o.Pin, Profile: cmp.Or(o.Profile, genericProfile),
		CA: given("ca", o.CA), ClientCert: given("cert", o.Cert), ClientKey: given("key", o.Key),
	}
	profile, err := profileOf(o.Profile)
	if err == nil {
		err = checkAddress(o.Address)
	}
	if err != nil {
		return wire.KMIPProbe{Target: o.Address, At: time.Now().UTC(), Error: err.Error(), Remedy: []fault.Remedy{}, Steps: []wire.KMIPStep{}, Keys: []wire.KMIPKeyFound{}}
	}
	v := &validation{server: &s, group: &g, profile: profile, resolvers: o.Resolvers, now: time.Now, plain: true, sole: true}
	p := v.run(ctx).wire()
	for i := range p.Remedy { // there is no object to test: the probe is asked again
		if p.Remedy[i].Command == testAgain(s.Name).Command {
			p.Remedy[i].Command = "allclear probe kmip " + s.Address
		}
	}
	return p
}

func given(where string, b []byte) Material {
	if len(b) == 0 {
		return Material{}
	}
	return Material{Where: where, Read: func() ([]byte, error) { return bytes.Clone(b), nil }}
}

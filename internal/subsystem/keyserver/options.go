package keyserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
	"time"

	"allclear/kmip"
)

// day is 24 hours.
const day = 24 * time.Hour

// mainGroup is the group of servers that name none.
const mainGroup = "main"

// Options are the groups and servers of the configuration and what else the
// subsystem stands on. Everything in it has been checked: names are unique in
// their kind, profiles are known.
type Options struct {
	// Dir is the package's own folder in the state directory; it is made.
	Dir string
	// Keys is the folder of what is kept sealed, of envelope.OpenFolder. The caller
	// closes it after Close.
	Keys *os.Root
	Node string // goes into the names of keys at the servers
	// Groups and Servers are those of the configuration. A group that a server
	// names but Groups lacks is DefaultGroup's.
	Groups       []Group
	Servers      []Server
	DefaultGroup func(name string) Group
	// Reference reads what a command names: "file:/path", "env:NAME" or
	// "cred:NAME". A private one must not be readable by others.
	Reference func(text string, private bool) (Material, error)
	Resolvers []string // "ip:port"; none: the system's
	// Changed is called when a command has changed the objects, for the checks to
	// be planned anew. Nil: nobody is told.
	Changed func(ctx context.Context) error
	// RetireAfter is how long the slots of a key before stay after a commit; 0 is
	// a day.
	RetireAfter time.Duration
	Now         func() time.Time // nil is time.Now
	Log         *slog.Logger     // nil: say nothing

	prefix string // of resources, for drills
}

// Group is what the servers of a group have in common.
type Group struct {
	Name      string
	MinKMIP   kmip.Version // 0 is 1.3
	MinTLS    uint16       // 0 is TLS 1.2
	LegacyTLS bool         // also suites that are no longer good: see ciphers
	Device    string       // the device group of this host at the servers; "" none
	// Interval is the time between two validations, Exception that while a fault
	// stands; 0 is 6 h and 15 min (seed 002: the two-speed timer).
	Interval, Exception time.Duration
	Timeout             time.Duration // of one exchange; 0 is 10 s
	Slow                time.Duration // an exchange that takes longer is slow; 0 is 2 s
	// Grace is how long a fetched key may be used from memory while no server
	// answers; 0 is never.
	Grace time.Duration
}

// Server is a key server as it is defined.
type Server struct {
	Name       string // the resource
	Address    string // host:port
	Group      string
	Profile    string // one of Profiles
	Primary    bool   // the one where keys are made
	ServerName string // that its certificate is verified for; "" the host of Address
	Pin        string // "SHA256:..." of its public key, base64; "" none
	CA         Material
	ClientCert Material
	ClientKey  Material
	// Version changes when what Material cannot show does.
	Version string

	command bool // added by a command, not by the configuration
}

// Material is something that is read at the moment of use.
type Material struct {
	Where string                 // safe to show: "file:/etc/allclear/ca.pem"
	Read  func() ([]byte, error) // the caller may clear the bytes
}

func (m Material) set() bool { return m.Read != nil }

// read answers the content, nil when there is none to read.
func (m Material) read() ([]byte, error) {
	if !m.set() {
		return nil, nil
	}
	return m.Read()
}

func (o *Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// group answers the group of that name.
func (o *Options) group(name string) Group {
	for _, g := range o.Groups {
		if g.Name == name {
			return g.withDefaults()
		}
	}
	g := Group{}
	if o.DefaultGroup != nil {
		g = o.DefaultGroup(name)
	}
	g.Name = name
	return g.withDefaults()
}

// withDefaults fills what was left empty but for Grace, whose zero means never.
func (g Group) withDefaults() Group {
	g.MinKMIP = cmp.Or(g.MinKMIP, kmip.V1_3)
	g.MinTLS = max(g.MinTLS, tls.VersionTLS12)
	g.Interval = cmp.Or(g.Interval, 6*time.Hour)
	g.Exception = min(cmp.Or(g.Exception, 15*time.Minute), g.Interval)
	g.Timeout = cmp.Or(g.Timeout, 10*time.Second)
	g.Slow = cmp.Or(g.Slow, 2*time.Second)
	return g
}

// ciphers are the suites that are offered below TLS 1.3: Go's own, and in a group
// that allows them those in CBC mode with SHA-256, which a PyKMIP server with an
// RSA key needs, and those without forward secrecy.
func (g Group) ciphers() []uint16 {
	if !g.LegacyTLS {
		return nil
	}
	var all []uint16
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			all = append(all, s.ID)
		}
	}
	return append(all,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA)
}

// versions are those that a server of the group may speak, best first.
func (g Group) versions() []kmip.Version {
	known := []kmip.Version{kmip.V1_4, kmip.V1_3, kmip.V2_1, kmip.V2_0, kmip.V1_2, kmip.V1_1, kmip.V1_0}
	return slices.DeleteFunc(known, func(v kmip.Version) bool { return v < g.MinKMIP })
}

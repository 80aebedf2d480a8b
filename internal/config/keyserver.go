package config

import (
	"fmt"
	"strings"
	"time"
)

// The profiles of key servers: what a server must be.
const (
	ProfileISKLM       = "isklm" // IBM SKLM or GKLM, 2.6.0.0 or later
	ProfileCipherTrust = "ciphertrust"
	ProfilePyKMIP      = "pykmip"
	ProfileGeneric     = "generic" // any that speaks the protocol
)

// MainGroup is the group of key servers that name none.
const MainGroup = "main"

// KeyServerGroup is a set of key servers that replicate the same keys.
type KeyServerGroup struct {
	Name              string    // what faults call it; unique in its list
	MinKMIP           string    // "1.0" to "2.1"
	MinTLS            string    // "1.2" or "1.3"
	LegacyTLS         bool      // also suites that are no longer good, which a PyKMIP server with an RSA key needs
	Reason            string    // why LegacyTLS is needed
	Until             time.Time // the end (exclusive, UTC) of LegacyTLS; zero without it
	Device            string    // the device group that this host belongs to at the servers; "" means none
	Interval          time.Duration
	ExceptionInterval time.Duration // between two looks while a fault of the server is active
	Timeout           time.Duration // of one exchange
	Slow              time.Duration // an exchange that takes longer is slow
	Grace             time.Duration // how long a key that was fetched is kept in memory while no server answers
}

// KeyServer is a server that keeps keys, by KMIP over mutual TLS.
type KeyServer struct {
	Name       string // what faults call it; unique in its list
	Address    string // host:port
	Group      string
	Profile    string // one of the Profile constants
	Primary    bool   // the one where keys are made; exactly one in a group
	ServerName string // the name that its certificate is verified for; "" means the host of Address
	CA         Ref    // PEM bundle to trust instead of the system's
	Pin        string // "SHA256:..." of its public key (base64); "" means none
	ClientCert Ref    // PEM
	ClientKey  Secret
}

func defaultKeyServerGroup() KeyServerGroup {
	return KeyServerGroup{
		MinKMIP: "1.3", MinTLS: "1.2", Interval: 6 * time.Hour, ExceptionInterval: 15 * time.Minute,
		Timeout: 10 * time.Second, Slow: 2 * time.Second, Grace: time.Hour,
	}
}

// DefaultKeyServerGroup is the group called name when the file says nothing of
// it.
func DefaultKeyServerGroup(name string) KeyServerGroup {
	g := defaultKeyServerGroup()
	g.Name = name
	return g
}

func defaultKeyServer() KeyServer {
	return KeyServer{Group: MainGroup, Profile: ProfileGeneric}
}

func (g *KeyServerGroup) keys() []key {
	return []key{
		name(&g.Name),
		{name: "min_kmip", value: word(&g.MinKMIP, "1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1"), doc: "The oldest version of KMIP that is accepted."},
		{name: "min_tls", value: word(&g.MinTLS, "1.2", "1.3"), doc: "The oldest version of TLS that is accepted."},
		{name: "legacy_tls", value: yes{&g.LegacyTLS}, doc: "Also offers cipher suites that are no longer good, which a PyKMIP server with an RSA key needs. It takes a reason and an end."},
		{name: "reason", value: anyText(&g.Reason, "a sentence", nil), doc: "Why legacy_tls is needed."},
		{name: "until", value: date(&g.Until), doc: "The last day, in UTC, of legacy_tls."},
		{name: "device_group", value: anyText(&g.Device, "the name of a device group", checkWord), doc: "The device group of this host at the servers."},
		interval(&g.Interval),
		{name: "exception_interval", value: span(&g.ExceptionInterval, minInterval, maxInterval), doc: "Time between two looks while a fault is active."},
		{name: "timeout", value: span(&g.Timeout, minTimeout, maxTimeout), doc: "The longest that one exchange may take."},
		{name: "slow", value: span(&g.Slow, 10*time.Millisecond, maxTimeout), doc: "An exchange that takes longer is slow."},
		{name: "grace", value: span(&g.Grace, 0, 7*day), doc: "How long a fetched key is kept in locked memory while no server answers."},
	}
}

func (g *KeyServerGroup) check(d *decoder, path string) {
	if reason, until := d.written(path, "reason"), d.written(path, "until"); reason != g.LegacyTLS || until != g.LegacyTLS {
		d.together(path, []string{"legacy_tls", "reason", "until"}, "legacy_tls, reason and until go together", "weaker suites need both, and nothing else does")
	}
	if g.ExceptionInterval > g.Interval {
		d.together(path, []string{"interval", "exception_interval"}, "exception_interval must not be longer than interval",
			"they are "+FormatDuration(g.ExceptionInterval)+" and "+FormatDuration(g.Interval))
	}
}

func (k *KeyServer) keys() []key {
	return []key{
		name(&k.Name),
		{name: "address", required: true, value: portedAddress(&k.Address), doc: "host:port; KMIP's own port is 5696"},
		{name: "group", value: anyText(&k.Group, "the name of a group", CheckName), doc: "The group whose keys it replicates."},
		{name: "profile", value: word(&k.Profile, ProfileISKLM, ProfileCipherTrust, ProfilePyKMIP, ProfileGeneric), doc: "What the server must be."},
		{name: "primary", value: yes{&k.Primary}, doc: "Whether keys are made there. One server of a group is the primary."},
		{name: "server_name", value: anyText(&k.ServerName, "a host name", checkWord), doc: "The name that its certificate is verified for. That of the address, when left out."},
		{name: "ca", value: source{&k.CA.ref, public}, doc: "Reference to the bundle of authorities to trust instead of the system's."},
		{name: "pin", value: anyText(&k.Pin, `"SHA256:..." of its public key`, checkKeyPin), doc: "Its public key must be this one besides."},
		{name: "client_cert", required: true, value: source{&k.ClientCert.ref, public}, doc: "reference to our certificate, with its chain"},
		{name: "client_key", required: true, value: source{&k.ClientKey.ref, private}, doc: "reference to the key of our certificate"},
	}
}

func (k *KeyServer) check(d *decoder, path string) {
	if k.ClientKey.ref.kind == "secret" {
		d.wrong.Add(path+".client_key", errOwnSecret.Error(), "wanted is file:PATH, env:NAME or cred:NAME")
	}
}

// portedAddress takes host:port only: key servers listen on many ports, and the
// wrong one is a fault that people look for too long.
func portedAddress(p *string) value {
	v := address(p, "", false).(text)
	v.want = "host:port, an IPv6 address in brackets"
	with := v.parse
	v.parse = func(s string) error {
		if _, port, err := splitAddress(s, ""); err != nil && port == "" {
			if _, _, err := splitAddress(s, "1"); err == nil {
				return fmt.Errorf("%q has no port", printable(s))
			}
		}
		return with(s)
	}
	return v
}

// checkKeyPin takes the SHA-256 of a SubjectPublicKeyInfo in base64.
func checkKeyPin(s string) error {
	rest, ok := strings.CutPrefix(s, "SHA256:")
	if !ok || len(strings.TrimRight(rest, "=")) != 43 {
		return fmt.Errorf("%q is not a pin", printable(s))
	}
	return nil
}

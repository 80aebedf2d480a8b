// Package config reads the agent's YAML file: its types, every default (once, in [Default]), strict decoding that
// reports all mistakes at once with line and column, references to secrets, the JSON schema and the commented example.
//
// It knows how things are written, not what they mean: whether a policy, an algorithm or a host key pin exists is
// checked by package app, which adds to the same [Mistakes]. It starts nothing and imports none of our packages; each
// subsystem has its own options, and app maps one to the other.
package config

import (
	"log/slog"
	"time"
)

// Config is the whole file. The zero value is not useful: start from [Default].
type Config struct {
	Node     string   // what this node is called; "" means the host name, which app fills in
	Listen   string   // host:port on loopback for the page, /metrics and /healthz; "" means no TCP at all
	State    State    // where and how long things are kept
	Limits   Limits   // bounds of the journal
	API      API      // rights on the unix socket
	Page     Page     // the page in a browser
	Log      Log      // what the program says about itself
	Checks   Checks   // how looks are run
	DNS      DNS      // who is asked for names
	Host     Host     // thresholds of the host's own prerequisites
	Remedies []string // codes whose automatic remedy may be taken without asking
	Policies []Policy // SSH algorithm policies beside the built-in ones
	Watch    Watch    // the endpoints to watch
	Backup   Backup   // where to and what is backed up
	Notify   []Notify // who is told of faults, in the order of the file

	KeyServerGroups []KeyServerGroup // sets of key servers that replicate the same keys
	KeyServers      []KeyServer      // in the order of the file
	KeySocket       string           // absolute; systemd-cryptsetup asks there for keys of volumes; "" means nowhere

	doc *document
}

// State says where the journal lives and how long it remembers.
type State struct {
	Dir           string        // absolute; "" means the place that the command line rule gives
	History       time.Duration // how long a cleared fault is remembered
	HistoryFaults int           // how many cleared faults are remembered at most
	Ballast       int64         // bytes kept back so that "disk full" can still be recorded; 0 means none
}

// Limits bounds what the journal accepts; hitting one is a fault, never silence.
type Limits struct {
	ActiveFaults int   // faults active at a time on this node
	Sense        int64 // bytes of evidence a fault may carry
	Text         int64 // bytes of text a fault may carry
}

// The roles that a group's members may have on the socket.
const (
	RoleViewer   = "viewer"
	RoleOperator = "operator"
)

// API says what members of the system group "allclear" may do. Root and the agent's own user are always admin.
type API struct {
	GroupRole string // RoleViewer or RoleOperator
}

// Page says how the page in a browser is reached and what it may reach.
type Page struct {
	Hosts        []string // names by which it may be asked for besides those of loopback, lower case
	ProbeAllow   []string // link-local and metadata addresses or prefixes that its probe may look at after all
	MetricsToken Secret   // what /metrics asks for over TCP; not set: nothing
}

// Log says what the program tells about itself on standard error.
type Log struct {
	Level slog.Level
}

// Checks bounds how looks are run.
type Checks struct {
	Parallel int // looks that run at the same time, at most
}

// DNS names the resolvers that connection checks ask.
type DNS struct {
	Resolvers []string // ip:port; empty means those of the system
}

// Host holds the thresholds of the host's own prerequisites.
type Host struct {
	Disk   Disk
	Clock  Clock
	Memory Memory
}

// Disk watches the free space of the state directory's file system.
type Disk struct {
	Interval       time.Duration
	Warning, Major int64 // free bytes below which the fault has that severity; Warning > Major
}

// Clock watches for steps of the wall clock.
type Clock struct {
	Interval time.Duration
	Step     time.Duration // a larger jump against the boot-time clock is a step
}

// Memory watches the memory that programs can still get.
type Memory struct {
	Interval time.Duration
	Need     int64 // bytes of MemAvailable that the agent wants to see
}

// Policy is an SSH algorithm policy of one's own. The names in its lists are judged by app. A nil list means that of
// Base.
type Policy struct {
	Name                      string
	Base                      string // the policy whose lists hold where this one has none; "" means none
	Kex, HostKey, Cipher, MAC []string
	Reason                    string    // why a weaker policy than the built-in ones is needed
	Until                     time.Time // the end (exclusive, UTC) of a weaker policy; zero means not given
}

// Watch lists the endpoints to watch, in the order of the file.
type Watch struct {
	SSH          []SSH
	TLS          []TLS
	Certificates []Certificate
}

// SSH is an SSH server watched against a policy.
type SSH struct {
	Name     string // what faults call it; unique in its list
	Address  string // host:port, the port filled in (22)
	Policy   string
	Interval time.Duration // between two looks, at least 10 s
	Timeout  time.Duration // of one look
	HostKeys HostKeys
	Login    *Login // nil: never authenticates
}

// HostKeys says how a server proves who it is: by pins, or by the first key that it ever showed. The zero value means
// that nobody has said, which is a fault of the server's watch, not of the file.
type HostKeys struct {
	TrustFirst bool     // the word trust-first in the file; then there are no pins
	Pins       []string // "SHA256:...", "TYPE SHA256:..." or a known_hosts key; their form is judged by app
}

// Login proves that an account still works. Exactly one of Key and Password is set.
type Login struct {
	User     string
	Key      Secret // a private key in OpenSSH or PEM form
	Password Secret
}

// TLS is a TLS or HTTPS endpoint watched step by step.
type TLS struct {
	Name       string // what faults call it; unique in its list
	Address    string // host:port, the port filled in (443)
	ServerName string // the name asked for and verified; "" means the host of Address
	CA         Ref    // PEM bundle to trust instead of the system's
	ClientCert Ref    // PEM; set together with ClientKey or not at all
	ClientKey  Secret
	HTTP       *HTTP       // nil: the look ends after TLS
	Proxy      string      // http:// or https:// URL without credentials; "" means direct, whatever the environment says
	ProxyLogin *ProxyLogin // nil: no credentials
	MinTLS     string      // "1.2" or "1.3"
	Interval   time.Duration
	Timeout    time.Duration // of one look
}

// HTTP is the request that a TLS look ends with.
type HTTP struct {
	Method       string // GET, HEAD or OPTIONS: a look changes nothing
	Path         string // with a leading slash, may carry a query
	ExpectStatus int    // 100 to 599
}

// ProxyLogin is sent to the proxy as basic authentication.
type ProxyLogin struct {
	User     string
	Password Secret
}

// Certificate is a certificate file of another program.
type Certificate struct {
	Name           string        // what faults call it; unique in its list
	Path           string        // absolute: PEM, the leaf first
	Key            string        // absolute; "" means that no key is compared
	CA             string        // absolute, PEM bundle that the chain must reach; "" means that trust is not judged
	Names          []string      // host names that it must be valid for; empty means not judged
	Warning, Major time.Duration // time left below which the fault has that severity; Warning > Major
	Interval       time.Duration
}

// File is the name of the file that the configuration came from, "" for [Default].
func (c *Config) File() string { return c.doc.name() }

// Written claims that the value at path stands in the file itself, rather than
// being a default.
func (c *Config) Written(path string) bool {
	if c.doc == nil {
		return false
	}
	_, written := c.doc.at[path]
	return written
}

// Pos answers where the value at path stands, both counted from 1: Pos("watch.ssh[0].policy"). For what is not written
// it answers the nearest thing around it that is, and 0, 0 when nothing is.
func (c *Config) Pos(path string) (line, column int) {
	p := c.doc.pos(path)
	return p.line, p.column
}

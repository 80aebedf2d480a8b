package wire

import (
	"time"

	"allclear/internal/fault"
)

// KeyServer is a key server object and what its last validation found. It never
// holds a key or the content of a reference.
type KeyServer struct {
	Name       string `json:"name"`
	Group      string `json:"group"`
	Address    string `json:"address"`     // host:port as defined
	Profile    string `json:"profile"`     // isklm, ciphertrust, pykmip, generic
	Primary    bool   `json:"primary"`     // defined as the primary of its group
	Origin     string `json:"origin"`      // configuration, command
	ServerName string `json:"server_name"` // that its certificate is verified for
	CA         string `json:"ca"`          // reference, "" the system's authorities
	Pin        string `json:"pin"`
	ClientCert string `json:"client_cert"` // reference
	ClientKey  string `json:"client_key"`  // reference

	// Status is online, offline, or unknown before the first validation.
	Status string `json:"status"`
	// Role is what the server says it is: master, clone, multi-master or
	// stand-alone; "" while nobody knows.
	Role    string `json:"role"`
	Vendor  string `json:"vendor"`  // its Vendor Identification, as it says
	Product string `json:"product"` // as its profile reads it
	Level   string `json:"level"`   // "4.1.1.0"; "" when it tells none
	KMIP    string `json:"kmip"`    // version that is spoken, "1.4"
	TLS     string `json:"tls"`     // version that is spoken, "1.3"
	// Certificates are the server's own, ours, and the authority above the
	// server's.
	Certificates []KeyServerCertificate `json:"certificates"`
	// Last is the newest validation, null before the first.
	Last *KMIPProbe `json:"last"`
	// History are the newest validations, oldest first, at most 96.
	History []KeyServerPoint `json:"history"`
	// Faults are the codes that the newest validation found, "CODE" or
	// "CODE@SUB-RESOURCE".
	Faults []string `json:"faults"`
	// LifeTested is when a test key last went through its whole life there; only
	// the primary is tested so.
	LifeTested *time.Time `json:"life_tested"`
}

// KeyServerCertificate is a certificate that a connection needs.
type KeyServerCertificate struct {
	Which    string `json:"which"` // server, client, ca
	DaysLeft int    `json:"days_left"`
	Certificate
}

// KeyServerPoint is one validation in the history of a server.
type KeyServerPoint struct {
	At time.Time `json:"at"`
	OK bool      `json:"ok"` // nothing was found wrong
	// ConnectMS is TCP and TLS; ExchangeMS the median of the exchanges after it,
	// 0 when there was none; TotalMS the whole validation.
	ConnectMS  float64 `json:"connect_ms"`
	ExchangeMS float64 `json:"exchange_ms"`
	TotalMS    float64 `json:"total_ms"`
}

// KMIPProbe is one validation of a key server, or the part of it that needs no
// agent.
type KMIPProbe struct {
	Target     string    `json:"target"`  // host:port as asked
	Address    string    `json:"address"` // ip:port that was used
	ServerName string    `json:"server_name"`
	At         time.Time `json:"at"`
	Trigger    string    `json:"trigger"` // of a validation; "" of a probe
	DurationMS float64   `json:"duration_ms"`
	OK         bool      `json:"ok"`
	// Code, Qualifier and Step are of the first thing that is wrong; Cause is the
	// exact reason below the qualifier, as "probe tls" names it.
	Code      string         `json:"code"`
	Qualifier string         `json:"qualifier"`
	Cause     string         `json:"cause"`
	Step      string         `json:"step"`
	Error     string         `json:"error"`
	Remedy    []fault.Remedy `json:"remedy"`
	Steps     []KMIPStep     `json:"steps"` // in their order, all that the kind of probe has
	TLS       *TLSFacts      `json:"tls"`   // null when no handshake was finished
	KMIP      *KMIPFacts     `json:"kmip"`  // null before a version was agreed
	Keys      []KMIPKeyFound `json:"keys"`  // of a validation: each key in use here
}

// KMIPStep is one step of a validation.
type KMIPStep struct {
	Number     int     `json:"number"`  // 1 and up, as in the documentation
	Name       string  `json:"name"`    // address, connect, tls, certificate, client-certificate, version, vendor, role, clock, keys, life, replica
	Outcome    string  `json:"outcome"` // ok, failed, warning, not-tried
	Detail     string  `json:"detail"`
	DurationMS float64 `json:"duration_ms"`
}

// KMIPFacts is what a server told of itself.
type KMIPFacts struct {
	Version    string   `json:"version"` // that is spoken
	Offered    []string `json:"offered"`
	Vendor     string   `json:"vendor"`
	Product    string   `json:"product"`
	Level      string   `json:"level"`
	Role       string   `json:"role"`
	Operations []string `json:"operations"`
	// ClockOffsetS is how far its clock is ahead of ours, exact to a second; null
	// when it told no time.
	ClockOffsetS *float64 `json:"clock_offset_s"`
}

// KMIPKeyFound is how a key in use here was found on a server.
type KMIPKeyFound struct {
	Key   string `json:"key"` // as the operator calls it
	Gen   int    `json:"gen"`
	UID   string `json:"uid"`
	Found bool   `json:"found"` // the server gave the right bytes
	State string `json:"state"` // as the server calls it; "" when it did not tell
	Bits  int    `json:"bits"`  // 0 when not given
	Check string `json:"check"` // key check value of what was given
	Why   string `json:"why"`   // when not found
}

// KeyServerGroup is a group of servers that replicate the same keys.
type KeyServerGroup struct {
	Name     string   `json:"name"`
	Device   string   `json:"device_group"`
	MinKMIP  string   `json:"min_kmip"`
	MinTLS   string   `json:"min_tls"`
	Legacy   bool     `json:"legacy_tls"`
	Interval string   `json:"interval"`
	Fast     string   `json:"exception_interval"`
	Grace    string   `json:"grace"`
	Primary  string   `json:"primary"` // "" when none is defined, or several are
	Servers  []string `json:"servers"`
	Usable   []string `json:"usable"` // that the newest validations found well
}

// KeyServerAdd is the request of keyserver/add. References are "file:/path",
// "cred:NAME" or "env:NAME"; the client makes paths absolute.
type KeyServerAdd struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Group      string `json:"group,omitempty"`   // "main" when empty
	Profile    string `json:"profile,omitempty"` // "generic" when empty
	Primary    bool   `json:"primary,omitempty"`
	ServerName string `json:"server_name,omitempty"`
	CA         string `json:"ca,omitempty"`
	Pin        string `json:"pin,omitempty"`
	ClientCert string `json:"client_cert"`
	ClientKey  string `json:"client_key"`
}

// KeyServerSet is the request of keyserver/set. Fields that are absent stay.
type KeyServerSet struct {
	Name       string  `json:"name"`
	Address    *string `json:"address,omitempty"`
	Group      *string `json:"group,omitempty"`
	Profile    *string `json:"profile,omitempty"`
	ServerName *string `json:"server_name,omitempty"`
	CA         *string `json:"ca,omitempty"`
	Pin        *string `json:"pin,omitempty"`
	ClientCert *string `json:"client_cert,omitempty"`
	ClientKey  *string `json:"client_key,omitempty"`
	// Primary true makes this server the primary of its group in place of the one
	// that is. There is no false: a group has exactly one.
	Primary bool `json:"primary,omitempty"`
}

// KeyServerRequest names a server. For keyserver/test "" means all.
type KeyServerRequest struct {
	Name string `json:"name"`
}

// KeyServerReply is the object after add, set or test, with the validation that
// followed.
type KeyServerReply struct {
	Server KeyServer `json:"server"`
	// Queued are servers whose validation was asked for besides, such as the old
	// primary.
	Queued []string `json:"queued"`
	// Removed is set by keyserver/remove.
	Removed bool `json:"removed,omitempty"`
}

// Key is a key that key servers keep for this host, in all its generations.
type Key struct {
	Name  string `json:"name"`
	Group string `json:"group"`
	// State is none (not created yet), current, or renewing.
	State   string          `json:"state"`
	Current *KeyGeneration  `json:"current"`
	Renewal *KeyRenewal     `json:"renewal"`
	Old     *KeyGeneration  `json:"old"`     // the one before, until it is retired
	Orphans []KeyGeneration `json:"orphans"` // of cancelled renewals, not destroyed yet
	Things  []KeyThing      `json:"things"`  // what it opens
	// Cached is until when the current key may be used from memory while no
	// server answers; null when it is not in memory.
	Cached *time.Time `json:"cached"`
}

// KeyGeneration is one generation of a key.
type KeyGeneration struct {
	Gen     int        `json:"gen"`
	UID     string     `json:"uid"`
	Name    string     `json:"name"`  // its Name attribute at the servers
	Check   string     `json:"check"` // key check value
	Created *time.Time `json:"created"`
}

// KeyRenewal is a renewal under way.
type KeyRenewal struct {
	// Phase is named, sent, created, proved, slotted, verified, committed,
	// retiring, dropped or cancelling.
	Phase   string        `json:"phase"`
	New     KeyGeneration `json:"new"`
	Started time.Time     `json:"started"`
	Changed time.Time     `json:"changed"`
	// Next are the steps that may be asked for now: verify, commit, retire,
	// cancel, prepare (to go on where it stopped).
	Next []string `json:"next"`
	// RetireAfter is when the old slots may go, of a committed one.
	RetireAfter *time.Time `json:"retire_after"`
	Failure     string     `json:"failure"` // what went wrong last in this phase
	FailedAt    *time.Time `json:"failed_at"`
}

// KeyThing is a thing that is kept sealed, with its slots.
type KeyThing struct {
	ID       string    `json:"id"` // backup/JOB, secret/NAME
	Slots    []KeySlot `json:"slots"`
	Local    bool      `json:"local"`    // no slot needs a key server
	Recovery bool      `json:"recovery"` // the recovery key opens it
	Copies   int       `json:"copies"`   // whole copies of its header: 2, or 1
}

// KeySlot is a key that opens a thing.
type KeySlot struct {
	Kind    string    `json:"kind"` // kmip, local, recovery
	Group   string    `json:"group"`
	UID     string    `json:"uid"`
	Gen     int       `json:"gen"`
	Check   string    `json:"check"`
	Created time.Time `json:"created"`
}

// Survivability is the matrix of servers and protected things.
type Survivability struct {
	Servers []string           `json:"servers"`
	Things  []SurvivalThing    `json:"things"`
	Lost    []SurvivalIfServer `json:"lost"` // for each server, in the order of Servers
}

// SurvivalThing is a row: who can open a thing now.
type SurvivalThing struct {
	ID string `json:"id"`
	// Openers are the servers that were found to have a key of one of its slots.
	Openers []string `json:"openers"`
	// Sole is the one server without which nothing opens it but the recovery key.
	Sole     string `json:"sole"`
	Local    bool   `json:"local"` // a local key opens it
	Recovery bool   `json:"recovery"`
	Opens    bool   `json:"opens"` // something opens it now
}

// SurvivalIfServer says what could not be opened any more if a server were gone.
type SurvivalIfServer struct {
	Server string   `json:"server"`
	Things []string `json:"things"`
	// Keys are the keys that no other server was found to have.
	Keys []string `json:"keys"`
}

// KeyRequest is the request of keyserver/key-create and key-rekey.
type KeyRequest struct {
	Key string `json:"key,omitempty"` // "" is "repo", the one there is
	// Step of key-rekey: prepare, verify, commit, retire, cancel.
	Step string `json:"step,omitempty"`
}

// KeyRecovery is the answer of keyserver/recovery-create and recovery-validate.
// Identity is the recovery key itself, given once, by recovery-create.
type KeyRecovery struct {
	Identity    string     `json:"identity,omitempty"`
	Fingerprint string     `json:"fingerprint"`
	Recipient   string     `json:"recipient"`
	Created     time.Time  `json:"created"`
	Validated   *time.Time `json:"validated"`
	Things      []string   `json:"things"` // that it opens
}

// KeyRecoveryRequest is the request of keyserver/recovery-validate and of
// recovery-use, whose answer names as things those that open again.
type KeyRecoveryRequest struct {
	Identity string `json:"identity"` // "AGE-SECRET-KEY-1..."
}

// SecretRequest is the request of keyserver/secret-put and secret-remove: a
// secret that the configuration names as "secret:NAME".
type SecretRequest struct {
	Name   string `json:"name"`
	Secret []byte `json:"secret,omitempty"` // 1 to 16384 bytes
	// Replace allows a secret of the name to be there already.
	Replace bool `json:"replace,omitempty"`
}

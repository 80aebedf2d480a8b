package kmiptest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"allclear/kmip"
)

// Role is what a server says it is among others.
type Role string

// The roles. StandAlone says nothing; the others are told as "ServerType=ROLE".
const (
	StandAlone  Role = ""
	Master      Role = "master"
	Clone       Role = "clone" // refuses to change anything
	MultiMaster Role = "multi-master"
)

// RolePlace is where in the answer to a Query the role is told.
type RolePlace string

// The places. Real products differ.
const (
	InVendorIdentification RolePlace = "vendor"
	InServerInformation    RolePlace = "server-information"
)

// Permission is what the holder of a client certificate may do.
type Permission string

// The permissions. A server tells its versions and answers a Query to everybody whose certificate it accepted.
const (
	Accepted Permission = "accepted"
	Pending  Permission = "pending" // known, and waiting for the server's operator: PermissionDenied
	Denied   Permission = "denied"  // AuthenticationNotSuccessful
)

// Options say what a server is. The zero value of each field is a sensible default; only Certificate is needed.
type Options struct {
	Address     string          // "127.0.0.1:0" when empty
	Certificate tls.Certificate // the server's own
	ClientCAs   *x509.CertPool  // whose client certificates are accepted; nil asks for none and serves anybody
	TLS         func(*tls.Config)
	Vendor      string    // Vendor Identification, such as "IBM SKLM 4.1.1.0"; "allclear kmiptest" when empty
	Role        Role      //
	RolePlace   RolePlace // InVendorIdentification when empty
	Versions    []kmip.Version
	// Operations that the server knows; nil for all it can do. Others are answered with OperationNotSupported and are
	// left out of the answer to a Query.
	Operations []kmip.Operation
	// Permission of the holder of a certificate, by its common name ("" without one). nil accepts all.
	Permission func(commonName string) Permission
	// Dir is a folder that keeps the objects over a restart; it is made with mode 0700 when missing. Empty keeps them
	// in memory only. Keys lie in it as they are: it is for tests and demonstrations.
	Dir    string
	Limits Limits
	// RefuseSeed has clients that seed the random generator refused, as some servers do.
	RefuseSeed bool
	// ClockOffset is added to the time the server tells its clients.
	ClockOffset time.Duration
	// Now is the server's clock; time.Now when nil. Replication lag is measured with it.
	Now func() time.Time
	Log *slog.Logger // discarded when nil
}

// Limits bound what a client can make the server hold or wait for. Zero values are replaced by the defaults named.
type Limits struct {
	Connections int           // at a time: 256; further ones are closed at once
	Message     int           // bytes of a request: 1 MiB
	Batch       int           // items of a request: 256
	Objects     int           // that the server holds: 100 000; more answer with ResultReason GeneralFailure
	Bytes       int           // of all objects: 256 MiB; an object itself has 1 MiB and 1000 attributes at most
	Handshake   time.Duration // 10 s
	Idle        time.Duration // between two requests of a connection: 10 min
	Read        time.Duration // for the rest of a request whose first bytes came: 10 s
	Write       time.Duration // for an answer: 10 s
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (o Options) withDefaults() Options {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.Vendor == "" {
		o.Vendor = "allclear kmiptest"
	}
	if o.RolePlace == "" {
		o.RolePlace = InVendorIdentification
	}
	if o.Versions == nil {
		o.Versions = allVersions()
	}
	if o.Permission == nil {
		o.Permission = func(string) Permission { return Accepted }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &o.Limits
	orDefault(&l.Connections, 256)
	orDefault(&l.Message, 1<<20)
	orDefault(&l.Batch, 256)
	orDefault(&l.Objects, 100_000)
	orDefault(&l.Bytes, 256<<20)
	orDefault(&l.Handshake, 10*time.Second)
	orDefault(&l.Idle, 10*time.Minute)
	orDefault(&l.Read, 10*time.Second)
	orDefault(&l.Write, 10*time.Second)
	return o
}

func (o Options) check() error {
	if len(o.Certificate.Certificate) == 0 {
		return errors.New("a key server needs a certificate")
	}
	switch o.Role {
	case StandAlone, Master, Clone, MultiMaster:
	default:
		return fmt.Errorf("role %q is none of master, clone, multi-master", o.Role)
	}
	if o.RolePlace != InVendorIdentification && o.RolePlace != InServerInformation {
		return fmt.Errorf("place of the role %q is none of %s, %s", o.RolePlace, InVendorIdentification, InServerInformation)
	}
	if len(o.Versions) == 0 {
		return errors.New("a key server needs a version to speak")
	}
	return nil
}

// tlsConfig is made for each connection, so that Set takes effect with the next one.
func (o Options) tlsConfig() *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{o.Certificate},
		MinVersion:   tls.VersionTLS12,
		// Without tickets every connection shows its certificate again: a changed ClientCAs works at once.
		SessionTicketsDisabled: true,
	}
	if o.ClientCAs != nil {
		c.ClientCAs, c.ClientAuth = o.ClientCAs, tls.RequireAndVerifyClientCert
	}
	if o.TLS != nil {
		o.TLS(c)
	}
	return c
}

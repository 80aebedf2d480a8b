package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"allclear/internal/atomicfile"
	"allclear/internal/wire"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// KMIPServer says what key server to run, in the words of the command line. It is for tests and demonstrations: the
// server keeps keys as they are.
type KMIPServer struct {
	Listen      string // "127.0.0.1:0" when empty
	Certificate string // file with the server's certificate, PEM
	Key         string // file with its key, PEM
	ClientCA    string // file with the authorities whose clients are accepted, PEM
	Credentials string // in place of the three: a folder into which an authority made for the run writes what a client needs
	Vendor      string
	Role        string   // stand-alone, master, clone or multi-master
	RoleInInfo  bool     // the role is told in Server Information, not in Vendor Identification
	Versions    []string // such as 1.2; all when empty
	Dir         string   // where objects are kept; in memory only when empty
	Faults      []string // see kmiptest.ParseFault
}

// The files of KMIPServer.Credentials.
const (
	kmipCA     = "ca.pem"
	kmipCert   = "client.pem"
	kmipKey    = "client.key"
	kmipPort   = "address" // host:port; written last, when clients can connect
	kmipClient = "client"  // the common name
)

// ServeKMIP runs a key server until ctx ends. It calls ready once, when clients can connect.
func ServeKMIP(ctx context.Context, k KMIPServer, ready func(wire.KMIPServing)) error {
	o, err := k.options()
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	if k.Credentials != "" {
		if files, err = newCredentials(&o); err != nil {
			return err
		}
	}
	s, err := kmiptest.Start(ctx, o)
	if err != nil {
		return fmt.Errorf("start the key server: %w", err)
	}
	for _, text := range k.Faults {
		f, err := kmiptest.ParseFault(text)
		if err == nil {
			err = s.Break(f)
		}
		if err != nil {
			return errors.Join(usagef("such as slow:Get,delay=2s or refuse:Create,reason=PermissionDenied,times=3", "%v", err), s.Close())
		}
	}
	if err := k.publish(files, s.Address()); err != nil {
		return errors.Join(err, s.Close())
	}
	ready(wire.KMIPServing{Address: s.Address(), Credentials: k.Credentials})
	<-ctx.Done()
	return s.Close()
}

func (k KMIPServer) options() (kmiptest.Options, error) {
	o := kmiptest.Options{Address: k.Listen, Vendor: k.Vendor, Dir: k.Dir}
	role, err := kmiptest.ParseRole(k.Role)
	if err != nil {
		return o, usagef("", "%v", err)
	}
	o.Role = role
	if k.RoleInInfo {
		o.RolePlace = kmiptest.InServerInformation
	}
	for _, text := range k.Versions {
		v, err := kmip.ParseVersion(text)
		if err != nil || !v.Known() {
			return o, usagef("the versions are 1.0 to 1.4, 2.0 and 2.1", "KMIP version %q is not one the server speaks", text)
		}
		o.Versions = append(o.Versions, v)
	}
	switch given := k.Certificate != "" || k.Key != "" || k.ClientCA != ""; {
	case given && k.Credentials != "":
		return o, usagef("leave one out", "credentials are read from files or made for the run, not both")
	case given:
		return o, k.readCredentials(&o)
	case k.Credentials == "":
		return o, usagef("or give a folder with --credentials, and an authority is made for the run",
			"a key server needs its certificate, its key, and the authority of its clients")
	}
	return o, nil
}

func (k KMIPServer) readCredentials(o *kmiptest.Options) error {
	if k.Certificate == "" || k.Key == "" || k.ClientCA == "" {
		return usagef("", "of the server's certificate, its key, and the authority of its clients one is not given")
	}
	pair, err := tls.LoadX509KeyPair(k.Certificate, k.Key)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", k.Certificate, k.Key, err)
	}
	pem, err := os.ReadFile(k.ClientCA)
	if err != nil {
		return fmt.Errorf("read the authority of the clients: %w", err)
	}
	o.Certificate, o.ClientCAs = pair, x509.NewCertPool()
	if !o.ClientCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read the authority of the clients: %s holds no certificate in PEM", k.ClientCA)
	}
	return nil
}

// newCredentials makes an authority, the server's certificate and one for a client, and answers the client's files.
func newCredentials(o *kmiptest.Options) (map[string][]byte, error) {
	pki, err := kmiptest.NewPKI("allclear kmip serve")
	if err != nil {
		return nil, err
	}
	server, err := pki.Issue(kmiptest.CertRequest{})
	if err != nil {
		return nil, err
	}
	client, err := pki.Issue(kmiptest.CertRequest{CommonName: kmipClient})
	if err != nil {
		return nil, err
	}
	o.Certificate, o.ClientCAs = server.TLS, pki.Pool()
	return map[string][]byte{kmipCA: pki.RootPEM, kmipCert: client.CertPEM, kmipKey: client.KeyPEM}, nil
}

// publish writes what a client needs.
func (k KMIPServer) publish(files map[string][]byte, address string) error {
	if k.Credentials == "" {
		return nil
	}
	err := os.MkdirAll(k.Credentials, 0o700)
	for name, data := range files {
		err = errors.Join(err, atomicfile.WriteFile(filepath.Join(k.Credentials, name), 0o600, data))
	}
	err = errors.Join(err, atomicfile.WriteFile(filepath.Join(k.Credentials, kmipPort), 0o600, []byte(address+"\n")))
	if err != nil {
		return fmt.Errorf("write the credentials of a client: %w", err)
	}
	return nil
}

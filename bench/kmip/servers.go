package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// server is one that runs, with a key registered on it.
type server struct {
	name    string
	address string
	config  *tls.Config // of its clients
	id      string
	key     []byte
	close   func() error
}

// start runs the servers that the machine has; missing tells what it lacks. Servers that were started are answered with
// an error too.
func start(ctx context.Context, dir string) (servers []*server, missing []string, err error) {
	pki, err := kmiptest.NewPKI("bench/kmip")
	if err != nil {
		return nil, nil, err
	}
	own, err := pki.Issue(kmiptest.CertRequest{})
	if err != nil {
		return nil, nil, err
	}
	user, err := pki.Issue(kmiptest.CertRequest{CommonName: "bench"})
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{RootCAs: pki.Pool(), Certificates: []tls.Certificate{user.TLS}, ServerName: "localhost"}
	s, err := startOurs(ctx, dir, own, pki.RootPEM)
	if err != nil {
		return nil, nil, err
	}
	servers = append(servers, s)
	if _, err := os.Stat(kmiptest.PyKMIPPackage); err != nil {
		missing = append(missing, "PyKMIP (Debian: python3-pykmip)")
	} else {
		py, err := kmiptest.StartPyKMIP(ctx, dir, own, pki.RootPEM)
		if err != nil {
			return servers, nil, err
		}
		servers = append(servers, &server{name: pykmipVersion(ctx), address: py.Address(), close: py.Close})
	}
	for _, s := range servers {
		s.config = config
		if err := s.register(ctx); err != nil {
			return servers, nil, fmt.Errorf("register a key on %s: %w", s.name, err)
		}
	}
	return servers, missing, nil
}

// register puts an AES-256 key on the server.
func (s *server) register(ctx context.Context) error {
	c, err := kmip.Dial(ctx, s.address, s.config, kmip.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	s.key = make([]byte, 32)
	rand.Read(s.key) // never fails
	r, err := c.Register(ctx, &kmip.RegisterRequest{
		Template: kmip.Attributes(kmip.AlgorithmAttr(kmip.CryptographicAlgorithmAES), kmip.LengthAttr(256),
			kmip.UsageAttr(kmip.CryptographicUsageMaskEncrypt|kmip.CryptographicUsageMaskDecrypt)),
		Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, s.key),
	})
	if err != nil {
		return err
	}
	s.id = r.UniqueID
	return nil
}

// The files that the server's process reads.
const (
	certFile = "server.pem"
	keyFile  = "server.key"
	caFile   = "ca.pem"
)

// startOurs runs this program again as a server. It ends with the pipe to it.
func startOurs(ctx context.Context, dir string, id *kmiptest.Identity, ca []byte) (*server, error) {
	for name, data := range map[string][]byte{certFile: id.CertPEM, keyFile: id.KeyPEM, caFile: ca} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end := func() error { return errors.Join(in.Close(), cmd.Wait()) }
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the server says no address: %w", err), end())
	}
	return &server{name: "kmiptest", address: strings.TrimSpace(address), close: end}, nil
}

// serveUntilEOF is the server's process: it prints its address and lives as long as its standard input.
func serveUntilEOF(ctx context.Context, dir string) error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", caFile)
	}
	s, err := kmiptest.Start(ctx, kmiptest.Options{Certificate: cert, ClientCAs: pool})
	if err != nil {
		return err
	}
	fmt.Println(s.Address())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

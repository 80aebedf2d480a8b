package netdiag_test

import (
	"crypto/tls"
	"testing"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

func TestConnectHandsOverWhatItClimbed(t *testing.T) {
	e := newEnv(t)
	for _, manner := range []netdiag.Manner{netdiag.Eager, netdiag.Patient} {
		server := e.tls(lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}})
		target := withCert(e.target(server.Addr()), e.client())
		target.ALPN = []string{"http/1.1"}
		conn, rep := netdiag.Connect(t.Context(), target, manner)
		if conn == nil || !rep.OK {
			t.Fatalf("manner %v: %+v", manner, rep)
		}
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: lab.test\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 12)
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "HTTP/1.1 200" {
			t.Errorf("manner %v: read %q, %v", manner, b[:n], err)
		}
		conn.Close()
	}
}

func TestOnlyThePatientHearOfARefusalUnderTLS13(t *testing.T) {
	e := newEnv(t)
	server := e.tls(lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}, ClientAlert: 48})
	target := withCert(e.target(server.Addr()), e.client())
	conn, rep := netdiag.Connect(t.Context(), target, netdiag.Eager)
	if conn == nil || rep.TLS.Acceptance != "first-read" {
		t.Fatalf("eager: %+v", rep)
	}
	conn.Close()
	conn, rep = netdiag.Connect(t.Context(), target, netdiag.Patient)
	if conn != nil || rep.Cause != netdiag.ClientCertUnknownCA {
		t.Errorf("patient: connection %v, cause %q", conn, rep.Cause)
	}
}

func TestSuitesOutsideTheDefaultsNeedToBeAllowed(t *testing.T) {
	e := newEnv(t)
	odd := []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
	target := e.served(lab.TLSOptions{MaxVersion: tls.VersionTLS12, CipherSuites: odd})
	if rep := netdiag.Diagnose(t.Context(), target); rep.Cause != netdiag.TLSCipher {
		t.Errorf("by default: %q (%s), want %q", rep.Cause, rep.Detail, netdiag.TLSCipher)
	}
	target.Ciphers = odd
	if rep := netdiag.Diagnose(t.Context(), target); !rep.OK {
		t.Errorf("allowed: %q (%s)", rep.Cause, rep.Detail)
	}
}

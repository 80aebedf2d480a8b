package netdiag

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzParseFlight feeds a peer's first bytes to the reader of TLS records.
func FuzzParseFlight(f *testing.F) {
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x46"))
	f.Add([]byte("\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03"))
	f.Add([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if got := parseFlight(head); got.alert >= 0 && got.version != 0 {
			t.Errorf("%+v is an alert and a ServerHello", got)
		}
		_, _ = speaks(head), quoteHead(head)
	})
}

func TestFlightIsReadInClear(t *testing.T) {
	// ServerHello: version field 1.2, empty session id, cipher 0x1301,
	// supported_versions 1.3.
	hello := "\x16\x03\x03\x00\x32\x02\x00\x00\x2e\x03\x03" + "0123456789abcdef0123456789abcdef" +
		"\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04"
	for head, want := range map[string]flight{
		hello:                          {alert: -1, version: 0x0304, cipher: 0x1301},
		hello[:len(hello)-4]:           {alert: -1, version: 0x0303, cipher: 0x1301},
		hello[:20]:                     {alert: -1},
		"\x15\x03\x01\x00\x02\x02\x46": {alert: 70},
		"\x15\x03\x01\x00\x02\x02":     {alert: -1},
		"HTTP/1.1 400 Bad Request":     {alert: -1},
		"":                             {alert: -1},
	} {
		if got := parseFlight([]byte(head)); got != want {
			t.Errorf("parseFlight(%q) = %+v, want %+v", head, got, want)
		}
	}
}

func TestConnectErrorsAreNamed(t *testing.T) {
	for err, want := range map[error]Cause{
		unix.ECONNREFUSED: TCPRefused, unix.ECONNRESET: TCPReset, unix.ETIMEDOUT: TCPTimeout,
		unix.EHOSTUNREACH: TCPHostUnreachable, unix.ENETUNREACH: TCPNetUnreachable,
		unix.EPERM: TCPDenied, unix.EACCES: TCPDenied, errors.New("something else"): TCPFailed,
	} {
		if got := tcpCause(err); got != want {
			t.Errorf("tcpCause(%v) = %s, want %s", err, got, want)
		}
	}
}

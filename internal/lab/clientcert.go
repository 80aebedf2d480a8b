package lab

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"net"
	"slices"
	"strings"
)

// TLS alert numbers a server answers client certificates with (RFC 8446
// section 6, RFC 5246 section 7.2).
const (
	AlertBadCertificate         uint8 = 42
	AlertUnsupportedCertificate uint8 = 43
	AlertCertificateRevoked     uint8 = 44
	AlertCertificateExpired     uint8 = 45
	AlertCertificateUnknown     uint8 = 46
	AlertUnknownCA              uint8 = 48
	AlertAccessDenied           uint8 = 49
)

var errRefused = errors.New("client certificate refused by the lab's switches")

// clientPolicy puts the switches about client certificates into c.
func (s *TLSServer) clientPolicy(c *tls.Config, o TLSOptions, raw net.Conn) {
	switch o.Client {
	case ClientNone:
		return
	case ClientRequest:
		c.ClientAuth = tls.RequestClientCert
	case ClientAny:
		c.ClientAuth = tls.RequireAnyClientCert
	case ClientVerify:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.ClientCAs = pool(o.ClientCAs)
	if o.IssuerList != nil && o.Client != ClientVerify {
		c.ClientCAs = pool(o.IssuerList)
	}
	keys := &keyLog{}
	c.KeyLogWriter = keys
	if o.ClientAlert != 0 || len(o.Revoked) > 0 || o.ClientReset {
		c.SessionTicketsDisabled = true // the forged alert must be the first record under the application keys
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		serial := cs.PeerCertificates[0].SerialNumber
		alert := o.ClientAlert
		for _, r := range o.Revoked {
			if r.Cmp(serial) == 0 {
				alert = AlertCertificateRevoked
			}
		}
		if o.ClientReset {
			return errors.Join(errRefused, raw.Close())
		}
		if alert == 0 {
			s.note(func(n *ServerSeen) { n.ClientSerial = serial.String() })
			return nil
		}
		return errors.Join(errRefused, sendAlert(raw, cs, keys.secret, alert), raw.Close())
	}
}

// sendAlert writes a fatal alert of any number, which crypto/tls, whose own
// verdicts are few, cannot do. It must be the first record the server sends
// under the key in force: in TLS 1.2 nothing is encrypted yet, in TLS 1.3 it
// is record 0 under the application traffic secret (RFC 8446 section 5).
func sendAlert(raw net.Conn, cs tls.ConnectionState, secret []byte, alert uint8) error {
	const fatal, typeAlert, typeData = 2, 21, 23
	if cs.Version < tls.VersionTLS13 {
		_, err := raw.Write([]byte{typeAlert, 3, 3, 0, 2, fatal, alert})
		return err
	}
	aead, iv, err := trafficKey(cs.CipherSuite, secret)
	if err != nil {
		return err
	}
	plain := []byte{fatal, alert, typeAlert}
	head := binary.BigEndian.AppendUint16([]byte{typeData, 3, 3}, uint16(len(plain)+aead.Overhead()))
	_, err = raw.Write(aead.Seal(slices.Clone(head), iv, plain, head)) // sequence number 0: the nonce is iv itself
	return err
}

// trafficKey derives key and IV from a traffic secret (RFC 8446 section 7.3).
func trafficKey(suite uint16, secret []byte) (cipher.AEAD, []byte, error) {
	var newHash func() hash.Hash
	size := 16
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		newHash = sha256.New
	case tls.TLS_AES_256_GCM_SHA384:
		newHash, size = sha512.New384, 32
	default:
		return nil, nil, errors.New("no alert can be forged for " + tls.CipherSuiteName(suite))
	}
	key, err := expandLabel(newHash, secret, "key", size)
	if err != nil {
		return nil, nil, err
	}
	iv, err := expandLabel(newHash, secret, "iv", 12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, iv, err
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func expandLabel(newHash func() hash.Hash, secret []byte, label string, size int) ([]byte, error) {
	full := "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len(full)))
	info = append(info, full...)
	info = append(info, 0)
	return hkdf.Expand(newHash, secret, string(info), size)
}

// keyLog keeps the server's application traffic secret of one connection; the
// handshake writes it before it asks for our verdict, in the same goroutine.
type keyLog struct{ secret []byte }

func (k *keyLog) Write(line []byte) (int, error) {
	if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "SERVER_TRAFFIC_SECRET_0" {
		secret, err := hex.DecodeString(f[2])
		if err != nil {
			return 0, err
		}
		k.secret = secret
	}
	return len(line), nil
}

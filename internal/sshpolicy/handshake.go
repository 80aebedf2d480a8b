package sshpolicy

import (
	"bytes"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// exchange is a key exchange in the library, seen from outside.
type exchange struct {
	tap      *tap
	offered  Lists  // by the server
	policy   Policy // what may be used
	part     Policy // what the library offers: the policy's part that it can do
	addr     string
	began    time.Time
	login    *loginTry // nil: stop before the login
	accepted func(ssh.PublicKey) PinState

	mu  sync.Mutex    // guards key: a server may exchange keys again at any time
	key ssh.PublicKey // proved, nil until then
}

// run does the key exchange and, when there is a login and the host key is one
// that we trust, the login. The client is nil unless the login succeeded.
func (s *exchange) run(parent context.Context, r *Result) (*ssh.Client, error) {
	config := &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: s.part.KEX, Ciphers: s.part.Ciphers, MACs: s.part.MACs,
		},
		HostKeyAlgorithms: s.part.HostKeys,
		ClientVersion:     clientVersion,
		HostKeyCallback:   s.hostKey,
	}
	if s.login != nil {
		s.login.configure(config)
	} else {
		s.tap.stopBeforeLogin()
	}
	c, channels, requests, err := ssh.NewClientConn(s.tap, s.addr, config)
	var client *ssh.Client
	if err == nil {
		client = ssh.NewClient(c, channels, requests) // refuses what a server asks of a client
	}
	if wrong := s.finish(parent, r, err); wrong != nil {
		if client != nil {
			client.Close()
		}
		return nil, wrong
	}
	return client, nil
}

// hostKey is called by the library after it has verified the signature, in the
// first key exchange and in every later one of the connection.
func (s *exchange) hostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil && !bytes.Equal(s.key.Marshal(), key.Marshal()) {
		return errors.New("the server changed its host key within the connection")
	}
	s.key = key
	if state := s.accepted(key); state != PinMatched && state != PinFirstSeen {
		s.tap.stopBeforeLogin() // never show a credential to a key that is not pinned
	}
	return nil
}

// finish fills the result and says what went wrong, if anything.
func (s *exchange) finish(parent context.Context, r *Result, err error) error {
	saw := s.tap.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &Handshake{Negotiated: s.negotiated(saw)}
	r.Handshake = h
	h.Done = saw.accepted
	h.Strict = slices.Contains(s.offered.Extensions, "kex-strict-s-v00@openssh.com")
	h.GroupBits, h.GroupChosenBy = s.group(saw, h.Negotiated.KEX)
	if s.key != nil {
		r.HostKey = serverKey(s.key, h.Negotiated.HostKey, s.addr)
		r.HostKey.Pin = s.accepted(s.key)
	}
	if saw.ours != nil {
		if outside := s.outsidePolicy(h.Negotiated); outside != nil {
			return outside
		}
	}
	switch {
	case saw.stopped:
		return nil
	case err == nil: // only with a login
		s.login.outcome.OK = true
		return nil
	case h.Done && s.login != nil:
		return s.login.failed(parent, s, err)
	case isTimeout(err) || parent.Err() != nil:
		return connError(parent, "key exchange", s.addr, s.began, err)
	}
	return s.cryptoError(saw, h, err)
}

// negotiated applies the rule of RFC 4253 section 7.1 to what both sides
// really sent, not to what we meant to send.
func (s *exchange) negotiated(saw seen) Negotiated {
	if saw.ours == nil {
		return Negotiated{}
	}
	first := func(ours, theirs []string) string {
		for _, name := range ours {
			if slices.Contains(theirs, name) {
				return name
			}
		}
		return ""
	}
	n := Negotiated{
		KEX:       first(saw.ours.KEX, s.offered.KEX),
		HostKey:   first(saw.ours.HostKey, s.offered.HostKey),
		CipherC2S: first(saw.ours.CipherC2S, s.offered.CipherC2S),
		CipherS2C: first(saw.ours.CipherS2C, s.offered.CipherS2C),
	}
	if !isAEAD(n.CipherC2S) {
		n.MACC2S = first(saw.ours.MACC2S, s.offered.MACC2S)
	}
	if !isAEAD(n.CipherS2C) {
		n.MACS2C = first(saw.ours.MACS2C, s.offered.MACS2C)
	}
	return n
}

// stepPolicy is the step of a CryptoError whose algorithms worked, but may not
// be used.
const stepPolicy = "policy"

// outsidePolicy is the assertion after every handshake: nothing was negotiated
// that the policy does not allow. It cannot fire while the lists above are
// built from the policy; it is here because the library can replace them.
func (s *exchange) outsidePolicy(n Negotiated) error {
	for _, c := range Categories() {
		for _, name := range n.algorithms(c) {
			if name != "" && !slices.Contains(s.policy.List(c), name) {
				return &CryptoError{
					Kind: CryptoLibrary, Step: stepPolicy, Negotiated: n,
					Err: fmt.Errorf("%s %s was negotiated, policy %s does not allow it", c, name, s.policy.Name),
				}
			}
		}
	}
	return nil
}

func (s *exchange) group(saw seen, kex string) (bits int, chosenBy string) {
	if saw.gexGroup != nil {
		return saw.gexGroup.BitLen(), "server"
	}
	if bits = groupBits(kex); bits > 0 {
		return bits, "name"
	}
	return 0, ""
}

// cryptoError says where the key exchange died, from what went over the wire;
// the library's text is kept but not interpreted.
func (s *exchange) cryptoError(saw seen, h *Handshake, err error) *CryptoError {
	e := &CryptoError{
		Kind: CryptoLibrary, Negotiated: h.Negotiated, GroupBits: h.GroupBits,
		Server: saw.disconnect, FIPS: fips140.Enabled(), Err: rootCause(err),
	}
	gex := strings.HasPrefix(h.Negotiated.KEX, "diffie-hellman-group-exchange-")
	switch {
	case saw.sentNewKeys && saw.newKeys:
		e.Step = "service"
	case s.key != nil:
		e.Step = "new keys"
	case saw.replied:
		e.Step = "signature"
	case gex && saw.gexGroup == nil:
		e.Step = "group"
	default:
		e.Step = "reply"
	}
	byServer := saw.disconnect != "" || saw.readErr != nil && isEnd(saw.readErr)
	switch {
	case byServer: // the server gave up: its library, not ours
	case e.FIPS && e.Step != "signature":
		e.Kind = CryptoFIPS
	case saw.gexGroup != nil && !saw.replied, e.Step == "signature" && !s.publicValueGood(saw, h):
		e.Kind = CryptoDHGroup
	case e.Step == "signature":
		if _, err := ssh.ParsePublicKey(saw.hostKey); err == nil {
			e.Kind = CryptoBadSignature
		}
	}
	return e
}

// publicValueGood checks the server's Diffie-Hellman value as RFC 4253 section
// 8 demands (1 < f < p-1); curves are the library's business.
func (s *exchange) publicValueGood(saw seen, h *Handshake) bool {
	p := saw.gexGroup
	if p == nil {
		switch h.GroupBits {
		case 0:
			return true
		case 4096:
			p = primeGroup16()
		case 8192:
			p = primeGroup18()
		default: // without the prime at hand: within its size
			p = new(big.Int).Lsh(big.NewInt(1), uint(h.GroupBits))
		}
	}
	f := saw.theirPublic
	return f != nil && f.Cmp(big.NewInt(1)) > 0 && f.Cmp(minusOne(p)) < 0
}

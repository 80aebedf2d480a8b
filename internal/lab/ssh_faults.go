package lab

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"

	"allclear/internal/sshpolicy"
)

// liar signs something else than it is asked to.
type liar struct{ ssh.MultiAlgorithmSigner }

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (l liar) SignWithAlgorithm(r io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	return l.MultiAlgorithmSigner.SignWithAlgorithm(r, append([]byte("not "), data...), algorithm)
}

// Sign implements ssh.Signer.
func (l liar) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return l.MultiAlgorithmSigner.Sign(r, append([]byte("not "), data...))
}

// misbehave plays a server that is broken in the way of its mode. Errors end
// it: the client has gone.
func misbehave(conn net.Conn, o SSHOptions) {
	switch o.Mode {
	case SSHClose:
		return
	case SSHText:
		_, _ = io.WriteString(conn, o.Text)
		drainLine(conn)
		return
	case SSHFlood:
		line := strings.Repeat("x", 1022) + "\r\n"
		for range 1024 {
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
		}
	case SSHBannerOnly:
		_, _ = io.WriteString(conn, o.Version+"\r\n")
	case SSHOffer, SSHDieInKEX, SSHSmallGroup:
		if _, err := conn.Write(append([]byte(o.Version+"\r\n"), kexInitPacket(o.Offer)...)); err != nil {
			return
		}
		if o.Mode != SSHOffer {
			dieInKEX(conn, o.Mode)
			return
		}
	}
	_, _ = io.Copy(io.Discard, conn) // until the client or the server's Close ends it
}

// drainLine reads what the client says first, so that closing does not reset
// the connection before the client has read our text.
func drainLine(conn net.Conn) {
	_, _ = bufio.NewReaderSize(conn, 256).ReadSlice('\n')
}

// dieInKEX waits for the client's version line, KEXINIT and first key exchange
// message, then closes; with SSHSmallGroup it answers with a small group first
// and waits for the client to give up.
func dieInKEX(conn net.Conn, mode SSHMode) {
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	for range 2 {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		if _, err := in.Discard(int(binary.BigEndian.Uint32(head[:]) & 0xffff)); err != nil {
			return
		}
	}
	if mode == SSHSmallGroup {
		p := new(big.Int).Lsh(big.NewInt(1), 1024)
		p.Sub(p, big.NewInt(105)) // 1024 bits are what matters; the client refuses the size
		_, _ = conn.Write(packet(ssh.Marshal(struct {
			P *big.Int `sshtype:"31"`
			G *big.Int
		}{p, big.NewInt(2)})))
		_, _ = io.Copy(io.Discard, in)
	}
}

// kexInitPacket is a whole KEXINIT packet with exactly these names (RFC 4253
// section 7.1).
func kexInitPacket(l sshpolicy.Lists) []byte {
	payload := append([]byte{20}, make([]byte, 16)...)
	_, _ = rand.Read(payload[1:]) // never fails; the cookie only has to be there
	for i, names := range [][]string{
		l.KEX, l.HostKey, l.CipherC2S, l.CipherS2C, l.MACC2S, l.MACS2C,
		l.CompressionC2S, l.CompressionS2C, l.LanguageC2S, l.LanguageS2C,
	} {
		if i == 0 {
			names = append(names[:len(names):len(names)], l.Extensions...)
		}
		list := strings.Join(names, ",")
		payload = binary.BigEndian.AppendUint32(payload, uint32(len(list)))
		payload = append(payload, list...)
	}
	return packet(append(payload, 0, 0, 0, 0, 0))
}

// packet frames a payload without encryption (RFC 4253 section 6).
func packet(payload []byte) []byte {
	padding := 8 - (len(payload)+5)%8
	if padding < 4 {
		padding += 8
	}
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	p = append(append(p, byte(padding)), payload...)
	return append(p, make([]byte, padding)...)
}

package sshpolicy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The SFTP library does not ask for limits@openssh.com (OpenSSH PROTOCOL
// section 4.8), and it waits for a server that is none. So we speak the first
// words ourselves: INIT, VERSION, and the question for the limits where it is
// offered. The library then gets the VERSION packet played back, and its own
// INIT goes nowhere.

// Packet types of draft-ietf-secsh-filexfer-02.
const (
	sftpInit          = 1
	sftpVersion       = 2
	sftpStatus        = 101
	sftpExtended      = 200
	sftpExtendedReply = 201
)

const (
	sftpPlainPacket = 32 << 10  // bytes of data that every server takes (draft section 3)
	sftpMostPacket  = 255 << 10 // bytes of data; the library reads no packet over 256 KiB
	sftpMaxWords    = 64 << 10  // of a VERSION packet
)

// ErrNoSFTP: the server has no SFTP subsystem for this account.
var ErrNoSFTP = errors.New("the server has no SFTP subsystem")

// sftpHello is what was learned before the library begins.
type sftpHello struct {
	version    []byte // the whole packet, with its length
	extensions map[string]string
	packet     int // bytes of data that a read or write may carry
}

// greetSFTP speaks the first words on a fresh channel.
func greetSFTP(in io.Writer, out io.Reader) (sftpHello, error) {
	h := sftpHello{extensions: map[string]string{}, packet: sftpPlainPacket}
	if _, err := in.Write([]byte{0, 0, 0, 5, sftpInit, 0, 0, 0, 3}); err != nil {
		return h, err
	}
	kind, body, err := readSFTP(out)
	if err != nil {
		return h, err
	}
	if kind != sftpVersion || len(body) < 4 {
		return h, fmt.Errorf("answered INIT with message %d", kind)
	}
	if v := binary.BigEndian.Uint32(body); v < 3 {
		return h, fmt.Errorf("speaks SFTP version %d, 3 is needed", v)
	}
	h.version = append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), kind)
	h.version = append(h.version, body...)
	for rest := body[4:]; len(rest) > 0; {
		name, after, ok := wireString(rest)
		value, after, ok2 := wireString(after)
		if !ok || !ok2 {
			return h, errors.New("sent a VERSION whose extensions do not parse")
		}
		h.extensions[string(name)], rest = string(value), after
	}
	if h.extensions["limits@openssh.com"] == "1" {
		return h, h.askLimits(in, out)
	}
	return h, nil
}

// askLimits takes the packet size that the server names.
func (h *sftpHello) askLimits(in io.Writer, out io.Reader) error {
	ask := []byte{sftpExtended, 0, 0, 0, 0}
	ask = binary.BigEndian.AppendUint32(ask, uint32(len("limits@openssh.com")))
	ask = append(ask, "limits@openssh.com"...)
	if _, err := in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(ask))), ask...)); err != nil {
		return err
	}
	kind, body, err := readSFTP(out)
	if err != nil {
		return err
	}
	if kind != sftpExtendedReply || len(body) < 4+32 {
		if kind == sftpStatus {
			return nil // offered, and refused: the plain size does
		}
		return fmt.Errorf("answered limits@openssh.com with message %d of %d bytes", kind, len(body))
	}
	// max-packet-length, max-read-length, max-write-length, max-open-handles; 0 is "no limit".
	size := uint64(sftpMostPacket)
	for i, limit := range []uint64{binary.BigEndian.Uint64(body[4:]), binary.BigEndian.Uint64(body[12:]), binary.BigEndian.Uint64(body[20:])} {
		if i == 0 && limit > 1024 {
			limit -= 1024 // the packet holds more than the data
		}
		if limit > 0 {
			size = min(size, limit)
		}
	}
	h.packet = int(max(size, 1024))
	return nil
}

// readSFTP reads one packet.
func readSFTP(out io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if n, err := io.ReadFull(out, head[:]); err != nil {
		if n > 0 {
			return 0, nil, fmt.Errorf("said %q where SFTP belongs", printable(string(head[:n]), 16))
		}
		return 0, nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[:]))
	if length < 1 || length > sftpMaxWords {
		return 0, nil, fmt.Errorf("said %q where SFTP belongs; does the account's shell print something at login?", saidInstead(head[:], out))
	}
	body = make([]byte, length-1)
	if _, err := io.ReadFull(out, body); err != nil {
		return 0, nil, err
	}
	return head[4], body, nil
}

// saidInstead is the beginning of a text: what is there now, and no more.
func saidInstead(head []byte, out io.Reader) string {
	more := make([]byte, 200)
	n, _ := out.Read(more) // the text is for people; its end does not matter
	text := bytes.TrimSpace(append(head, more[:n]...))
	return printable(string(text), 200)
}

// initSwallower drops the library's INIT, which went out before.
type initSwallower struct {
	io.WriteCloser
	left int // bytes of INIT to come
}

// Write implements io.Writer.
func (w *initSwallower) Write(p []byte) (int, error) {
	drop := min(w.left, len(p))
	w.left -= drop
	if drop == len(p) {
		return drop, nil
	}
	n, err := w.WriteCloser.Write(p[drop:])
	return n + drop, err
}

// sftpInitSize is the length of the library's INIT packet.
const sftpInitSize = 9

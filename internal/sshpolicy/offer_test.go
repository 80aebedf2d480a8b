package sshpolicy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func kexInit(lists ...string) []byte {
	p := append([]byte{msgKexInit}, make([]byte, 16)...)
	for i := range 10 {
		var s string
		if i < len(lists) {
			s = lists[i]
		}
		p = binary.BigEndian.AppendUint32(p, uint32(len(s)))
		p = append(p, s...)
	}
	return append(p, 0, 0, 0, 0, 0)
}

func framed(payload []byte) string {
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+4))
	p = append(append(p, 4), payload...)
	return string(append(p, 0, 0, 0, 0))
}

func disconnect(text string) string {
	p := []byte{msgDisconnect, 0, 0, 0, 12}
	p = binary.BigEndian.AppendUint32(p, uint32(len(text)))
	return framed(append(append(p, text...), 0, 0, 0, 0))
}

func TestAnOfferIsReadWithAllTenListsAndNoPseudoNames(t *testing.T) {
	stream := "hello\r\n\x1b[31mred\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" + framed([]byte{msgIgnore, 0, 0, 0, 0}) +
		framed(kexInit("a,b,a,ext-info-s,kex-strict-s-v00@openssh.com,kexguess2@matt.ucc.asn.au", "h", "c1,", "c2", "m1", "m2", "none,zlib", "none", "en", ""))
	for name, r := range map[string]*reader{
		"at once":            newReader(strings.NewReader(stream), lookBuffer),
		"one byte at a time": newReader(iotest.OneByteReader(strings.NewReader(stream)), lookBuffer),
	} {
		o, err := r.read()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := Lists{
			KEX: []string{"a", "b"}, HostKey: []string{"h"}, CipherC2S: []string{"c1"}, CipherS2C: []string{"c2"},
			MACC2S: []string{"m1"}, MACS2C: []string{"m2"}, CompressionC2S: []string{"none", "zlib"}, CompressionS2C: []string{"none"},
			LanguageC2S: []string{"en"}, LanguageS2C: []string{},
			Extensions: []string{"ext-info-s", "kex-strict-s-v00@openssh.com", "kexguess2@matt.ucc.asn.au"},
		}
		if diff := cmp.Diff(want, o.lists); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if o.version != "SSH-2.0-OpenSSH_9.2p1 Debian-2" {
			t.Errorf("%s: version %q", name, o.version)
		}
		if diff := cmp.Diff([]string{"hello", `\x1b[31mred`}, o.before); diff != "" {
			t.Errorf("%s: text before the version (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatIsNotSSHIsToldApart(t *testing.T) {
	big := strings.Repeat(strings.Repeat("x", 1000)+"\n", 100)
	for _, tt := range []struct {
		name, stream, kind, guess, why string
	}{
		{"nothing", "", NotSSHClosed, "", "without a word"},
		{"http", "HTTP/1.1 400 Bad Request\r\n\r\n", NotSSHBanner, "HTTP", "without a version line"},
		{"tls alert", "\x15\x03\x01\x00\x02\x02\x28", NotSSHBanner, "TLS", ""},
		{"smtp", "220 mail ESMTP\r\n", NotSSHBanner, "FTP or SMTP", ""},
		{"protocol 1", "SSH-1.5-Cisco-1.25\n", NotSSHBanner, "SSH protocol 1", "speaks SSH-1.5, not SSH-2.0"},
		{"too many startups", "Exceeded MaxStartups\r\n", NotSSHRateLimited, "", "Exceeded MaxStartups"},
		{"penalty", "Not allowed at this time\r\n", NotSSHRateLimited, "", "Not allowed at this time"},
		{"penalty without line end", "Not allowed at this time", NotSSHRateLimited, "", "Not allowed at this time"},
		{"much text", big, NotSSHBanner, "", "65536 bytes"},
		{"one endless line", strings.Repeat("y", 1<<20), NotSSHBanner, "", "65536 bytes"},
		{"long version", "SSH-2.0-" + strings.Repeat("z", 300) + "\r\n", NotSSHBanner, "", "version line of 310 bytes"},
		{"version only", "SSH-2.0-x\r\n", NotSSHClosed, "", "before the key exchange"},
		{"half a packet", "SSH-2.0-x\r\n" + framed(kexInit("a"))[:20], NotSSHClosed, "", "before the key exchange"},
		{"disconnect", "SSH-2.0-x\r\n" + disconnect("Too many connections"), NotSSHClosed, "", "Too many connections (reason 12)"},
		{"disconnect by penalty", "SSH-2.0-x\r\n" + disconnect("Not allowed at this time"), NotSSHRateLimited, "", ""},
		{"huge packet", "SSH-2.0-x\r\n\xff\xff\xff\xff\x04", NotSSHBanner, "", "packet of 4294967295 bytes"},
		{"padding beyond the packet", "SSH-2.0-x\r\n\x00\x00\x00\x08\xff\x14\x00\x00\x00\x00\x00\x00", NotSSHBanner, "", "255 bytes of padding"},
		{"another message", "SSH-2.0-x\r\n" + framed([]byte{50}), NotSSHBanner, "", "message 50 where KEXINIT belongs"},
		{"ignores for ever", "SSH-2.0-x\r\n" + strings.Repeat(framed([]byte{msgIgnore}), 100), NotSSHBanner, "", "16 messages"},
		{"short KEXINIT", "SSH-2.0-x\r\n" + framed([]byte{msgKexInit, 0}), NotSSHBanner, "", "KEXINIT of 2 bytes"},
		{"list beyond the message", "SSH-2.0-x\r\n" + framed(append(append([]byte{msgKexInit}, make([]byte, 16)...), 0xff, 0xff, 0xff, 0xff)), NotSSHBanner, "", "says 4294967295 bytes"},
		{"too many names", "SSH-2.0-x\r\n" + framed(kexInit(strings.Repeat("a,", 2000))), NotSSHBanner, "", "2001 names"},
		{"a long name", "SSH-2.0-x\r\n" + framed(kexInit(strings.Repeat("a", 2000))), NotSSHBanner, "", "a name of 2000 bytes"},
	} {
		_, err := newReader(strings.NewReader(tt.stream), lookBuffer).read()
		e, ok := errors.AsType[*NotSSHError](err)
		if !ok {
			t.Errorf("%s: got %v, want a NotSSHError", tt.name, err)
			continue
		}
		if e.Kind != tt.kind || e.Guess != tt.guess || !strings.Contains(e.Why, tt.why) {
			t.Errorf("%s: got kind %q guess %q why %q", tt.name, e.Kind, e.Guess, e.Why)
		}
		if want := tt.stream[:min(64, len(tt.stream))]; !strings.HasPrefix(want, string(e.First)) {
			t.Errorf("%s: first bytes %q, want a prefix of %q", tt.name, e.First, want)
		}
	}
}

func TestForeignNamesCannotDriveATerminal(t *testing.T) {
	o, err := newReader(strings.NewReader("SSH-2.0-\x1b]0;pwned\a\r\n"+framed(kexInit("ok,\x1b[2Jevil"))), lookBuffer).read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ok", `\x1b[2Jevil`}, o.lists.KEX); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.version != `SSH-2.0-\x1b]0;pwned\a` {
		t.Errorf("version %q", o.version)
	}
}

// FuzzOffer feeds the reader foreign bytes: it must end, within its bounds, with
// an offer or a classified error, and the same for any way the bytes arrive.
func FuzzOffer(f *testing.F) {
	f.Add([]byte("SSH-2.0-OpenSSH_9.2p1\r\n" + framed(kexInit("a,b", "c"))))
	f.Add([]byte("SSH-2.0-x\r\n" + disconnect("bye")))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte("x\nSSH-1.99-y\n\x00\x00\x00\x0c\x0a\x14"))
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		o, err := newReader(bytes.NewReader(data), lookBuffer).read()
		p, slow := newReader(iotest.HalfReader(bytes.NewReader(data)), lookBuffer).read()
		if diff := cmp.Diff(o.lists, p.lists); diff != "" || fmt.Sprint(err) != fmt.Sprint(slow) {
			t.Errorf("the way of arrival matters: %v, %v\n%s", err, slow, diff)
		}
		if time.Since(began) > 5*time.Second {
			t.Errorf("took %s", time.Since(began))
		}
		if err != nil {
			if code, kind := Classify(err); code != CodeNotSSH || kind == "" {
				t.Errorf("error without a class: %v", err)
			}
			return
		}
		if !strings.HasPrefix(o.version, "SSH-") || len(o.raw) > len(data) {
			t.Errorf("version %q, %d bytes kept of %d", o.version, len(o.raw), len(data))
		}
		for _, name := range slices.Concat(o.lists.KEX, o.lists.HostKey, o.lists.CipherC2S, o.lists.MACS2C, o.lists.Extensions) {
			if name == "" || name != printable(name, len(name)) {
				t.Errorf("name %q", name)
			}
		}
	})
}

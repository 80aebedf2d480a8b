package sshpolicy

import (
	"crypto"
	"crypto/fips140"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestGroup18IsOnInThisBuild(t *testing.T) {
	if err := group18Error(); err != nil {
		t.Fatal(err)
	}
	if err := handshakeInMemory(kexGroup18); err != nil {
		t.Fatal(err)
	}
	if !Go.Can(KEX, kexGroup18) {
		t.Error("the transport does not say that it can do group18")
	}
}

// The self-test is worth something only if it fails on a name that the library
// does not have.
func TestSelfTestFailsWithoutTheAlgorithm(t *testing.T) {
	if err := handshakeInMemory("diffie-hellman-group17-sha512"); err == nil {
		t.Error("a handshake with an algorithm that the library lacks succeeded")
	}
}

type anotherLayout struct{ g, p *big.Int }

func (*anotherLayout) Client() {}
func (*anotherLayout) Server() {}

type sameFieldsOtherGroup struct {
	g, p, pMinus1 *big.Int
	hashFunc      crypto.Hash
}

func (*sameFieldsOtherGroup) Client() {}
func (*sameFieldsOtherGroup) Server() {}

type notAStruct int

func (notAStruct) Client() {}
func (notAStruct) Server() {}

func TestAnotherLayoutIsRefused(t *testing.T) {
	other := &sameFieldsOtherGroup{g: big.NewInt(2), p: big.NewInt(23), pMinus1: big.NewInt(22), hashFunc: crypto.SHA512}
	for name, tt := range map[string]struct {
		group kexAlgorithm
		want  string
	}{
		"fewer fields":  {&anotherLayout{g: big.NewInt(2), p: big.NewInt(23)}, "has 2 fields, want 4"},
		"other group":   {other, "does not hold group16"},
		"not a pointer": {notAStruct(0), "not a pointer to a structure"},
	} {
		if _, err := cloneGroup(tt.group, primeGroup16(), primeGroup18()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if other.p.Int64() != 23 {
		t.Error("the original was changed")
	}
}

func TestCloneLeavesGroup16AsItWas(t *testing.T) {
	if err := handshakeInMemory(ssh.KeyExchangeDH16SHA512); err != nil {
		t.Error(err)
	}
}

// RFC 3526: p = 2^n - 2^(n-64) - 1 + 2^64 * (...), so the first and last 64 bits are ones.
func TestPrimesHaveTheirShape(t *testing.T) {
	ones := new(big.Int).SetUint64(1<<64 - 1)
	for bits, p := range map[int]*big.Int{4096: primeGroup16(), 8192: primeGroup18()} {
		if p.BitLen() != bits {
			t.Errorf("got %d bits, want %d", p.BitLen(), bits)
		}
		low := new(big.Int).And(p, ones)
		high := new(big.Int).Rsh(p, uint(bits-64))
		if low.Cmp(ones) != 0 || high.Cmp(ones) != 0 {
			t.Errorf("group of %d bits: ends are %x and %x", bits, high, low)
		}
	}
}

// In FIPS 140 mode the library has no finite-field groups: the program starts
// all the same, and says what it cannot do and why.
func TestInFIPSModeGroup18IsOffWithTheReason(t *testing.T) {
	if os.Getenv("SSHPOLICY_FIPS_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestInFIPSModeGroup18IsOffWithTheReason$", "-test.v")
		cmd.Env = append(os.Environ(), "SSHPOLICY_FIPS_CHILD=1", "GODEBUG=fips140=on")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if !fips140.Enabled() {
		t.Fatal("the child does not run in FIPS mode")
	}
	ucsm, err := Builtin(PolicyUCSM)
	if err != nil {
		t.Fatal(err)
	}
	err = ucsm.Validate(Go)
	if err == nil || !strings.Contains(err.Error(), kexGroup18) || !strings.Contains(err.Error(), "FIPS 140 mode") {
		t.Errorf("got %v", err)
	}
	if Go.Can(Cipher, "chacha20-poly1305@openssh.com") || !Go.Can(Cipher, "aes256-ctr") || !Go.Can(KEX, "ecdh-sha2-nistp256") {
		t.Error("the table of what the transport can do is not that of FIPS mode")
	}
}

func BenchmarkStartUpCost(b *testing.B) {
	for b.Loop() {
		if err := handshakeInMemory(kexGroup18); err != nil {
			b.Fatal(err)
		}
	}
}

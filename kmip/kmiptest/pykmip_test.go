package kmiptest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

func startPyKMIP(t *testing.T, r kmiptest.CertRequest) *kmiptest.PyKMIP {
	t.Helper()
	lab.Need(t, kmiptest.PyKMIPPackage)
	p, err := kmiptest.StartPyKMIP(t.Context(), t.TempDir(), issue(t, r), testPKI(t).RootPEM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Log())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func clientConfig(t testing.TB, name string) *tls.Config {
	t.Helper()
	return (&rig{}).client(t, name)
}

// exercise takes a key through its whole life with our client.
func exercise(t *testing.T, c *kmip.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	made, err := c.CreateKey(ctx, kmip.KeySpec{
		Name: name, Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256,
		Usage: kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt,
	})
	if err != nil {
		t.Fatal(err)
	}
	id := made.UniqueID
	key, err := c.GetKey(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if len(key.Bytes) != 32 || key.Algorithm != kmip.CryptographicAlgorithmAES {
		t.Errorf("a key of %d bytes for %s", len(key.Bytes), key.Algorithm)
	}
	again, err := c.GetKey(ctx, id)
	if err != nil || !bytes.Equal(key.Bytes, again.Bytes) {
		t.Errorf("the key changed from one Get to the next, or: %v", err)
	}
	found, err := c.Locate(ctx, kmip.NameAttr(name))
	if err != nil || len(found) != 1 || found[0] != id {
		t.Errorf("located %v, want [%s]; %v", found, id, err)
	}
	if err := c.Activate(ctx, id); err != nil {
		t.Errorf("activate: %v", err)
	}
	if got := state(t, ctx, c, id); got != kmip.StateActive {
		t.Errorf("after Activate the key is %s", got)
	}
	if err := c.Destroy(ctx, id); err == nil {
		t.Error("an active key was destroyed")
	} else if e, ok := errors.AsType[*kmip.Error](err); !ok || e.Status != kmip.ResultStatusOperationFailed {
		t.Errorf("destroying an active key: %v", err)
	}
	if err := c.Revoke(ctx, id, kmip.RevocationReasonCodeCessationOfOperation, "done", time.Time{}); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if got := state(t, ctx, c, id); got != kmip.StateDeactivated {
		t.Errorf("after Revoke the key is %s", got)
	}
	if err := c.Destroy(ctx, id); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if _, err := c.GetKey(ctx, id); err == nil {
		t.Error("a destroyed key was given")
	}
}

func state(t *testing.T, ctx context.Context, c *kmip.Client, id string) kmip.State {
	t.Helper()
	attrs, err := c.GetAttributes(ctx, id, "State")
	if err != nil {
		t.Errorf("get the state: %v", err)
		return 0
	}
	a, _ := kmip.Find(attrs, "State")
	n, _ := a.Value.Enumeration()
	return kmip.State(n)
}

func TestOurClientUsesPyKMIPsServer(t *testing.T) {
	p := startPyKMIP(t, kmiptest.CertRequest{CommonName: "pykmip"})
	for _, v := range []kmip.Version{kmip.V1_0, kmip.V1_1, kmip.V1_2, kmip.V1_3, kmip.V1_4, kmip.V2_0} {
		t.Run(v.String(), func(t *testing.T) {
			c, err := kmip.Dial(t.Context(), p.Address(), clientConfig(t, "tester"), kmip.Options{Versions: []kmip.Version{v}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			exercise(t, c, "key of "+v.String())
		})
	}
}

// A server with an RSA key is one of PyKMIP's suites without forward secrecy or authenticated encryption away from Go's
// client: it is told by name, and works when asked for.
func TestPyKMIPWithAnRSAKeyNeedsALegacySuite(t *testing.T) {
	p := startPyKMIP(t, kmiptest.CertRequest{CommonName: "pykmip", RSA: true})
	config := clientConfig(t, "tester")
	if c, err := kmip.Dial(t.Context(), p.Address(), config, kmip.Options{}); err == nil {
		_ = c.Close()
		t.Error("a suite was found without asking for a legacy one")
	}
	config.CipherSuites = kmiptest.PyKMIPSuites()
	c, err := kmip.Dial(t.Context(), p.Address(), config, kmip.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exercise(t, c, "key of an RSA server")
}

// pyClient runs a program of PyKMIP's client against our server; it must print "done" at its end.
func pyClient(t *testing.T, r *rig, program string) {
	t.Helper()
	lab.Need(t, kmiptest.PyKMIPPackage)
	dir := t.TempDir()
	id := issue(t, kmiptest.CertRequest{CommonName: "pykmip client"})
	for name, b := range map[string][]byte{"client.conf": []byte("[client]\n"), "c.pem": id.CertPEM, "c.key": id.KeyPEM, "ca.pem": testPKI(t).RootPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(r.Address())
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf(`
from kmip import enums
from kmip.core import enums
from kmip.pie import objects
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure
def connect(version):
    return ProxyKmipClient(hostname=%q, port=%s, cert="c.pem", key="c.key", ca="ca.pem", ssl_version="PROTOCOL_TLSv1_2",
        config_file="client.conf", kmip_version=version)
`, host, port)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-W", "ignore", "-c", head+program)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("PyKMIP's client: %v\n%s", err, out)
	}
}

func TestPyKMIPsClientUsesOurServer(t *testing.T) {
	r := start(t, kmiptest.Options{})
	pyClient(t, r, `
from kmip.core.enums import KMIPVersion as V, CryptographicAlgorithm as A, CryptographicUsageMask as U
for version in [V.KMIP_1_0, V.KMIP_1_1, V.KMIP_1_2, V.KMIP_1_3, V.KMIP_1_4, V.KMIP_2_0]:
    with connect(version) as c:
        name = "py " + str(version)
        uid = c.create(A.AES, 256, name=name, cryptographic_usage_mask=[U.ENCRYPT, U.DECRYPT])
        key = c.get(uid)
        assert len(key.value) == 32 and key.cryptographic_length == 256, key
        factory = c.attribute_factory
        if version != V.KMIP_2_0:
            found = c.locate(attributes=[factory.create_attribute(enums.AttributeType.NAME,
                __import__("kmip.core.attributes", fromlist=["Name"]).Name.create(name, enums.NameType.UNINTERPRETED_TEXT_STRING))])
            assert found == [uid], found
        names = c.get_attribute_list(uid)
        assert "State" in names and "Cryptographic Length" in names, names
        _, attrs = c.get_attributes(uid, ["State", "Cryptographic Algorithm"])
        assert len(attrs) == 2, attrs
        c.activate(uid)
        try:
            c.destroy(uid)
            raise SystemExit("an active key was destroyed")
        except KmipOperationFailure as e:
            assert e.reason in (enums.ResultReason.PERMISSION_DENIED, enums.ResultReason.WRONG_KEY_LIFECYCLE_STATE), e
        c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, uid)
        c.destroy(uid)
        try:
            c.get(uid)
            raise SystemExit("a destroyed key was given")
        except KmipOperationFailure as e:
            assert e.status == enums.ResultStatus.OPERATION_FAILED, e
print("done")
`)
	for _, o := range r.Objects() {
		if o.State != kmip.StateDestroyed {
			t.Errorf("object %s is left %s", o.ID, o.State)
		}
	}
}

func TestPyKMIPsClientEncryptsSignsAndDerivesWithOurServer(t *testing.T) {
	r := start(t, kmiptest.Options{})
	pyClient(t, r, `
from kmip.core.enums import CryptographicAlgorithm as A, CryptographicUsageMask as U
with connect(enums.KMIPVersion.KMIP_1_2) as c:
    key = objects.SymmetricKey(A.AES, 128, bytes(range(16)), [U.ENCRYPT, U.DECRYPT, U.DERIVE_KEY], "known key")
    uid = c.register(key)
    assert c.get(uid).value == bytes(range(16))
    c.activate(uid)
    how = {"cryptographic_algorithm": A.AES, "block_cipher_mode": enums.BlockCipherMode.CBC,
           "padding_method": enums.PaddingMethod.PKCS5}
    iv = b"\x01" * 16
    sealed, _ = c.encrypt(b"all clear", uid=uid, cryptographic_parameters=how, iv_counter_nonce=iv)
    assert c.decrypt(sealed, uid=uid, cryptographic_parameters=how, iv_counter_nonce=iv) == b"all clear"

    public, private = c.create_key_pair(A.RSA, 2048, public_usage_mask=[U.VERIFY], private_usage_mask=[U.SIGN])
    c.activate(public)
    c.activate(private)
    how = {"padding_method": enums.PaddingMethod.PKCS1v15, "hashing_algorithm": enums.HashingAlgorithm.SHA_256,
           "cryptographic_algorithm": A.RSA}
    signature = c.sign(b"message", uid=private, cryptographic_parameters=how)
    valid = c.signature_verify(b"message", signature, uid=public, cryptographic_parameters=how)
    assert valid == enums.ValidityIndicator.VALID, valid
    valid = c.signature_verify(b"massage", signature, uid=public, cryptographic_parameters=how)
    assert valid == enums.ValidityIndicator.INVALID, valid

    mac_key = c.register(objects.SymmetricKey(A.HMAC_SHA256, 128, bytes(16), [U.MAC_GENERATE, U.MAC_VERIFY], "mac key"))
    c.activate(mac_key)
    _, mac = c.mac(b"data", uid=mac_key, algorithm=A.HMAC_SHA256)
    import hmac
    assert mac == hmac.digest(bytes(16), b"data", "sha256")

    derived = c.derive_key(enums.ObjectType.SYMMETRIC_KEY, [uid], enums.DerivationMethod.PBKDF2,
        {"cryptographic_parameters": {"hashing_algorithm": enums.HashingAlgorithm.SHA_256},
         "salt": b"salt", "iteration_count": 1000},
        cryptographic_length=256, cryptographic_algorithm=A.AES, cryptographic_usage_mask=[U.ENCRYPT])
    import hashlib
    assert c.get(derived).value == hashlib.pbkdf2_hmac("sha256", bytes(range(16)), b"salt", 1000, 32)

    new = c.rekey(uid)
    assert c.get(new).value != bytes(range(16)) and len(c.get(new).value) == 16

    secret = c.register(objects.SecretData(b"open sesame", enums.SecretDataType.PASSWORD))
    assert c.get(secret).value == b"open sesame"
    opaque = c.register(objects.OpaqueObject(b"anything", enums.OpaqueDataType.NONE))
    assert c.get(opaque).value == b"anything"
print("done")
`)
}

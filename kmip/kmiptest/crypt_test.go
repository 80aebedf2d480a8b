package kmiptest_test

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
	"allclear/kmip/ttlv"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const mayCrypt = kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt | kmip.CryptographicUsageMaskWrapKey

// register gives the server a key that is active since an hour ago.
func register(t testing.TB, c *kmip.Client, key []byte, more ...kmip.Attribute) string {
	t.Helper()
	attrs := append([]kmip.Attribute{kmip.UsageAttr(mayCrypt), kmip.DateAttr("Activation Date", time.Now().Add(-time.Hour))}, more...)
	got, err := c.Register(t.Context(), &kmip.RegisterRequest{
		Template: kmip.Attributes(attrs...), Object: kmip.SymmetricKey(kmip.CryptographicAlgorithmAES, key),
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.UniqueID
}

// The key, data and results of NIST's GCM test case 2 (the GCM specification, appendix B).
func TestGCMAgreesWithItsSpecification(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	id := register(t, c, make([]byte, 16))
	mode := func(tag int32) *kmip.CryptographicParameters {
		return &kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeGCM, TagLength: &tag}
	}
	cipher, tag := unhex(t, "0388dace60b6a392f328c2b971b2fe78"), unhex(t, "ab6e47d42cec13bdf53a67b21257bddf")
	got, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Parameters: mode(16), Data: make([]byte, 16), IV: make([]byte, 12)})
	if err != nil || !bytes.Equal(got.Data, cipher) || !bytes.Equal(got.Tag, tag) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, tt := range []struct {
		name   string
		size   int32
		tag    []byte
		iv     []byte
		data   []byte
		reason kmip.ResultReason
	}{
		{"whole", 16, tag, make([]byte, 12), cipher, 0},
		{"tag cut", 12, tag[:12], make([]byte, 12), cipher, 0},
		{"tag shorter than told", 16, tag[:12], make([]byte, 12), cipher, kmip.ResultReasonCryptographicFailure},
		{"another tag", 16, bytes.Repeat([]byte{1}, 16), make([]byte, 12), cipher, kmip.ResultReasonCryptographicFailure},
		{"another vector", 16, tag, bytes.Repeat([]byte{1}, 12), cipher, kmip.ResultReasonCryptographicFailure},
		{"other data", 16, tag, make([]byte, 12), cipher[:15], kmip.ResultReasonCryptographicFailure},
		{"no vector", 16, tag, nil, cipher, kmip.ResultReasonInvalidMessage},
		{"tag of one byte", 1, tag[:1], make([]byte, 12), cipher, kmip.ResultReasonGeneralFailure},
	} {
		plain, err := c.Decrypt(t.Context(), &kmip.DecryptRequest{UniqueID: id, Parameters: mode(tt.size), Data: tt.data, IV: tt.iv, Tag: tt.tag})
		if reasonOf(err) != tt.reason || err == nil && !bytes.Equal(plain.Data, make([]byte, 16)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestEveryModeComesBack(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	id := register(t, c, bytes.Repeat([]byte{7}, 32))
	data := []byte("what was encrypted comes back as it was")
	for _, mode := range []kmip.BlockCipherMode{
		kmip.BlockCipherModeECB, kmip.BlockCipherModeCBC, kmip.BlockCipherModeCTR, kmip.BlockCipherModeCFB, kmip.BlockCipherModeOFB,
		kmip.BlockCipherModeGCM,
	} {
		p := &kmip.CryptographicParameters{BlockCipherMode: mode, PaddingMethod: kmip.PaddingMethodPKCS5, RandomIV: new(true)}
		sealed, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Parameters: p, Data: data})
		if err != nil || bytes.Contains(sealed.Data, data[:16]) {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		got, err := c.Decrypt(t.Context(), &kmip.DecryptRequest{UniqueID: id, Parameters: p, Data: sealed.Data, IV: sealed.IV, Tag: sealed.Tag})
		if err != nil || !bytes.Equal(got.Data, data) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	_, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Data: data, Parameters: &kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeECB}})
	if reasonOf(err) != kmip.ResultReasonCryptographicFailure {
		t.Errorf("data that fills no block, without padding: %v", err)
	}
}

func TestDataInPartsIsOneData(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	id := register(t, c, make([]byte, 16))
	p := &kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeCTR}
	iv := make([]byte, 16)
	whole, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Parameters: p, IV: iv, Data: []byte("one two three")})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Parameters: p, IV: iv, Data: []byte("one "), First: new(true)})
	if err != nil || len(first.Correlation) == 0 {
		t.Fatalf("the first part: %+v, %v", first, err)
	}
	if _, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Data: []byte("two "), Correlation: first.Correlation}); err != nil {
		t.Fatal(err)
	}
	last, err := c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Data: []byte("three"), Correlation: first.Correlation, Last: new(true)})
	if err != nil || !bytes.Equal(last.Data, whole.Data) {
		t.Errorf("the parts: %+v, %v", last, err)
	}
	_, err = c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Data: []byte("more"), Correlation: first.Correlation, Last: new(true)})
	if reasonOf(err) != kmip.ResultReasonInvalidField {
		t.Errorf("a part after the last: %v", err)
	}
}

func TestAKeyIsUsedOnlyAsItsAttributesAllow(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	ecb := &kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeECB}
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	var total ttlv.Encoder
	total.LongInteger(ttlv.TagUsageLimitsTotal, 16)
	total.Enumeration(ttlv.TagUsageLimitsUnit, uint32(kmip.UsageLimitsUnitByte))
	for _, tt := range []struct {
		name             string
		attr             kmip.Attribute
		encrypt, decrypt kmip.ResultReason
		times            int
	}{
		{"usage mask", kmip.UsageAttr(kmip.CryptographicUsageMaskEncrypt), 0, kmip.ResultReasonPermissionDenied, 1},
		{"protect stop date", kmip.DateAttr("Protect Stop Date", before), kmip.ResultReasonPermissionDenied, 0, 1},
		{"process start date", kmip.DateAttr("Process Start Date", later), 0, kmip.ResultReasonPermissionDenied, 1},
		{"deactivated", kmip.DateAttr("Deactivation Date", before), kmip.ResultReasonPermissionDenied, 0, 1},
		{"not active yet", kmip.DateAttr("Activation Date", later), kmip.ResultReasonPermissionDenied, kmip.ResultReasonPermissionDenied, 1},
		{"usage limit", kmip.Attr("Usage Limits", ttlv.StructureValue(total.Bytes())), kmip.ResultReasonPermissionDenied, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := register(t, c, make([]byte, 16), tt.attr)
			var err error
			for range tt.times {
				_, err = c.Encrypt(t.Context(), &kmip.EncryptRequest{UniqueID: id, Parameters: ecb, Data: make([]byte, 16)})
			}
			if reasonOf(err) != tt.encrypt {
				t.Errorf("encrypt: %v, want %v", err, tt.encrypt)
			}
			_, err = c.Decrypt(t.Context(), &kmip.DecryptRequest{UniqueID: id, Parameters: ecb, Data: make([]byte, 16)})
			if reasonOf(err) != tt.decrypt {
				t.Errorf("decrypt: %v, want %v", err, tt.decrypt)
			}
		})
	}
}

// The key, the data and the result of RFC 3394 section 4.1.
func TestAKeyIsWrappedAsInRFC3394(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	kek := register(t, c, unhex(t, "000102030405060708090a0b0c0d0e0f"))
	id := register(t, c, unhex(t, "00112233445566778899aabbccddeeff"))
	items, err := c.Do(t.Context(), &kmip.GetRequest{UniqueID: id, Wrapping: &kmip.KeyWrappingSpecification{
		Method: kmip.WrappingMethodEncrypt, Encoding: kmip.EncodingOptionNoEncoding,
		Encryption: &kmip.KeyInformation{UniqueID: kek, Parameters: &kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeNISTKeyWrap}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := items[0].Payload.(*kmip.GetResponse)
	if !ok {
		t.Fatalf("%+v", items[0])
	}
	want := unhex(t, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5")
	wrapped, _ := got.Object.Key.Value.Material.Bytes()
	if !bytes.Equal(wrapped, want) || got.Object.Key.Wrapping == nil {
		t.Errorf("got %x, want %x", wrapped, want)
	}
}

// A ReKey moves the names and links old and new, and the old key stays to be had.
func TestReKeyMovesTheNamesAndKeepsTheOldKey(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	old := makeKey(t, c, "moving")
	before, err := c.GetKey(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.ReKey(t.Context(), &kmip.ReKeyRequest{UniqueID: old})
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.Locate(t.Context(), kmip.NameAttr("moving"))
	if err != nil || len(found) != 1 || found[0] != made.UniqueID {
		t.Errorf("the name belongs to %v, want %s: %v", found, made.UniqueID, err)
	}
	after, err := c.GetKey(t.Context(), made.UniqueID)
	if err != nil || bytes.Equal(before.Bytes, after.Bytes) || len(after.Bytes) != len(before.Bytes) {
		t.Errorf("the new key: %v", err)
	}
	if same, err := c.GetKey(t.Context(), old); err != nil || !bytes.Equal(before.Bytes, same.Bytes) {
		t.Errorf("the old key: %v", err)
	}
}

// A clock that runs differently from the server's is told by what the server says, and judged by what a client says.
func TestTheServersClockIsItsOwn(t *testing.T) {
	r := start(t, kmiptest.Options{ClockOffset: 2 * time.Hour})
	c := r.dial(t, kmip.Options{})
	if _, err := c.Locate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, ok := c.ClockOffset(); !ok || d.Round(time.Minute) != 2*time.Hour {
		t.Errorf("the client sees an offset of %s", d)
	}
	req := kmip.Request{
		Header: kmip.RequestHeader{Version: kmip.V1_4, TimeStamp: time.Now()},
		Items:  []kmip.RequestItem{{Payload: &kmip.LocateRequest{}}},
	}
	var resp kmip.Response
	if err := resp.Decode(r.Answer(req.Encode(), "")); err != nil || resp.Items[0].Reason != kmip.ResultReasonInvalidMessage {
		t.Errorf("a time stamp two hours off is taken: %+v, %v", resp.Items, err)
	}
}

// What clients store is bounded, in each object and in all.
func TestAServerHoldsNoMoreThanItsLimits(t *testing.T) {
	c := start(t, kmiptest.Options{Limits: kmiptest.Limits{Objects: 3, Bytes: 200_000}}).dial(t, kmip.Options{})
	big := make([]byte, 60_000)
	opaque := func() error {
		_, err := c.Register(t.Context(), &kmip.RegisterRequest{Template: kmip.Attributes(), Object: kmip.Secret(kmip.SecretDataTypePassword, big)})
		return err
	}
	for i := range 3 {
		if err := opaque(); err != nil {
			t.Fatalf("object %d: %v", i+1, err)
		}
	}
	if err := opaque(); reasonOf(err) != kmip.ResultReasonGeneralFailure {
		t.Errorf("one object too many: %v", err)
	}
	ids, err := c.Locate(t.Context())
	if err != nil || len(ids) != 3 {
		t.Fatalf("located %d objects: %v", len(ids), err)
	}
	err = c.AddAttribute(t.Context(), ids[0], kmip.TextAttr("x-big", string(bytes.Repeat([]byte("x"), 50_000))))
	if reasonOf(err) != kmip.ResultReasonGeneralFailure {
		t.Errorf("more bytes than the server takes: %v", err)
	}
}

func TestAnObjectHasSoManyAttributesAndNoMore(t *testing.T) {
	c := start(t, kmiptest.Options{}).dial(t, kmip.Options{})
	id := makeKey(t, c, "loaded")
	var err error
	n := 0
	for ; err == nil && n <= 1000; n++ {
		err = c.AddAttribute(t.Context(), id, kmip.TextAttr("x-n", "v"))
	}
	if reasonOf(err) != kmip.ResultReasonIndexOutOfBounds || n < 900 {
		t.Errorf("attribute %d: %v", n, err)
	}
}

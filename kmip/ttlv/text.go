package ttlv

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Secrets tells [Text] whether bytes that may be a secret are shown.
type Secrets bool

// What to do with secrets.
const (
	HideSecrets Secrets = false
	ShowSecrets Secrets = true
)

// Text renders one item for people, a line for each item in it, with the names of tags and values.
// Unless asked it shows no byte string but those that are known to be public, no password, and
// nothing of a key but its length. Texts of the sender are quoted. The error is that of Check.
func Text(b []byte, s Secrets) (string, error) {
	if err := Check(b); err != nil {
		return "", err
	}
	t := text{secrets: s}
	t.items(b, 0, false)
	return t.out.String(), nil
}

type text struct {
	out     strings.Builder
	secrets Secrets
}

// items writes a row of items that have been checked; key tells that they are within a key.
func (t *text) items(b []byte, depth int, key bool) {
	var d Decoder
	var attribute Tag // that the last Attribute Name named
	for d.Reset(b); d.More(); {
		tag, v := d.Any()
		for range depth {
			t.out.WriteString("  ")
		}
		t.out.WriteString(tag.String())
		if v.Type == TypeStructure {
			t.out.WriteByte('\n')
			t.items(v.Body, depth+1, key || tag == TagKeyMaterial)
			continue
		}
		names := tag
		if tag == TagAttributeName {
			attribute, _ = TagByName(string(v.Body))
		} else if tag == TagAttributeValue && attribute != 0 {
			names = attribute
		}
		t.out.WriteString(": ")
		t.value(tag, names, v, key)
		t.out.WriteByte('\n')
	}
}

func (t *text) value(tag, names Tag, v Value, key bool) {
	if t.secrets == HideSecrets && (key || private(tag, v.Type)) {
		fmt.Fprintf(&t.out, "[%s of %d bytes]", v.Type, len(v.Body))
		return
	}
	switch v.Type {
	case TypeInteger:
		n, _ := v.Integer()
		t.out.WriteString(strconv.Itoa(int(n)))
		if names.Mask() {
			t.out.WriteString(" (" + names.ValueName(uint32(n)) + ")")
		}
	case TypeLongInteger:
		n, _ := v.LongInteger()
		t.out.WriteString(strconv.FormatInt(n, 10))
	case TypeEnumeration:
		n, _ := v.Enumeration()
		t.out.WriteString(names.ValueName(n))
	case TypeBoolean:
		b, _ := v.Boolean()
		t.out.WriteString(strconv.FormatBool(b))
	case TypeTextString:
		t.out.WriteString(strconv.QuoteToGraphic(string(v.Body)))
	case TypeDateTime, TypeDateTimeExtended:
		at, _ := v.DateTime()
		t.out.WriteString(at.Format(time.RFC3339Nano))
	case TypeInterval:
		n, _ := v.Interval()
		fmt.Fprintf(&t.out, "%d s", n)
	default:
		t.out.WriteString(hex.EncodeToString(v.Body))
	}
}

// private tells whether a value may be a secret: bytes and big numbers, but for those that are known to be
// public, and passwords.
func private(tag Tag, t Type) bool {
	switch tag {
	case TagUniqueBatchItemID, TagAsynchronousCorrelationValue, TagCorrelationValue, TagDigestValue, TagIVCounterNonce,
		TagCertificateValue, TagCertificateRequest, TagNonceID, TagNonceValue, TagPrimeFieldSize, TagMACSignature,
		TagAuthenticatedEncryptionTag, TagX_509CertificateIdentifier, TagIssuerDistinguishedName,
		TagSubjectDistinguishedName, TagCertificateSerialNumber:
		return false
	case TagPassword, TagHashedPassword, TagOneTimePassword, TagServerHashedPassword:
		return true
	}
	return t == TypeByteString || t == TypeBigInteger
}

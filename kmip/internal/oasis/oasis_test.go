package oasis_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/internal/oasis"
)

// The folder of -oasis is read by the tests of kmip and kmiptest.
var _ = flag.String("oasis", "", "folder of other OASIS KMIP 1.x cases")

const discover = `<KMIP><RequestMessage><RequestHeader><ProtocolVersion>
<ProtocolVersionMajor type="Integer" value="1"/><ProtocolVersionMinor type="Integer" value="2"/></ProtocolVersion>
<BatchCount type="Integer" value="1"/></RequestHeader><BatchItem><Operation type="Enumeration" value="OPERATION"/>
<RequestPayload>PAYLOAD</RequestPayload></BatchItem></RequestMessage></KMIP>`

func read(t *testing.T, operation, payload string) (*oasis.Case, error) {
	t.Helper()
	text := strings.NewReplacer("OPERATION", operation, "PAYLOAD", payload).Replace(discover)
	return oasis.Read("case", strings.NewReader(text))
}

func TestCodecTellsWhatDoesNotRoundTrip(t *testing.T) {
	for _, tt := range []struct{ name, operation, payload, want string }{
		{"good", "Get", `<UniqueIdentifier type="TextString" value="$UNIQUE_IDENTIFIER_0"/>`, ""},
		{"unknown operation is kept", "0x80000001", `<TTLV tag="0x540001" type="ByteString" value="00ff"/>`, ""},
		{"bytes of a variable", "RNGSeed", `<Data type="ByteString" value="$DATA_0"/>`, ""},
		{"dates and masks", "Locate", `<Attribute><AttributeName type="TextString" value="Initial   Date"/>` +
			`<AttributeValue type="DateTime" value="$NOW-60"/></Attribute><Attribute><AttributeName type="TextString" ` +
			`value="Cryptographic Usage Mask"/><AttributeValue type="Integer" value="Decrypt  Encrypt"/></Attribute>`, ""},
		{"no such tag", "Get", `<Nonsense type="TextString" value="a"/>`, `no tag has the name "Nonsense"`},
		{"no such type", "Get", `<UniqueIdentifier type="Text" value="a"/>`, `no type has the name "Text"`},
		{"type of another tag", "Get", `<UniqueIdentifier type="Boolean" value="true"/>`, "do not allow"},
		{"no such value", "Get", `<KeyFormatType type="Enumeration" value="Rare"/>`, `"Rare" is no value of Key Format Type`},
		{"payload of another operation", "Query", `<UniqueIdentifier type="TextString" value="a"/>`, "Query Function is missing"},
		{"empty text is not absent", "Get", `<UniqueIdentifier type="TextString" value=""/>`, "is empty"},
		{"a field that the structs lose", "Revoke", `<RevocationReason><RevocationReasonCode type="Enumeration" ` +
			`value="Unspecified"/><RevocationMessage type="TextString" value=""/></RevocationReason>`, "struct to TTLV: byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := read(t, tt.operation, tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			err = oasis.Codec(c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFilesThatAreNoCase(t *testing.T) {
	for _, text := range []string{"", "<a/>", "<a><b/></a>", "<a><ResponseMessage/></a>", "<a><RequestMessage></a>"} {
		if c, err := oasis.Read("case", strings.NewReader(text)); err == nil {
			t.Errorf("%q: read %+v", text, c)
		}
	}
	if _, err := oasis.Folder(t.TempDir()); err == nil {
		t.Error("an empty folder was read")
	}
}

func TestAFolderIsReadBeyondAFileThatIsNoCase(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "more"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"1.xml": "<a/>", "2.xml": discover, "3.XML": "", "more/4.xml": discover, "5.txt": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := oasis.Folder(dir)
	var names []string
	for _, c := range cases {
		names = append(names, c.Name)
	}
	if want := []string{"2", "more/4"}; !slices.Equal(names, want) {
		t.Errorf("read %q, want %q", names, want)
	}
	if err == nil || !strings.Contains(err.Error(), "1.xml: no messages") || !strings.Contains(err.Error(), "3.XML: EOF") {
		t.Errorf("got %v, want 1.xml and 3.XML named", err)
	}
}

func TestVariablesAreTakenFromAnAnswer(t *testing.T) {
	cases, err := oasis.Folder("../../testdata/oasis-1.0")
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for cases[i].Name != "AKLC-M-1-12" {
		i++
	}
	step := cases[i].Steps[0]
	answer := kmip.Response{
		Header: kmip.ResponseHeader{Version: kmip.V1_2, TimeStamp: time.Unix(1, 0)},
		Items: []kmip.ResponseItem{{
			Operation: kmip.OperationCreateKeyPair, Message: "passed over",
			Payload: &kmip.CreateKeyPairResponse{PrivateID: "17", PublicID: "18"},
		}},
	}
	var vs oasis.Vars
	if err := step.Response.Capture(answer.Encode(), &vs); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"UNIQUE_IDENTIFIER_0": "17", "UNIQUE_IDENTIFIER_1": "18"}
	if !maps.Equal(vs.Text, want) {
		t.Errorf("got %v, want %v", vs.Text, want)
	}
	b, err := cases[i].Steps[1].Request.TTLV(&vs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte{0x42, 0, 0x94, 7, 0, 0, 0, 2, '1', '7'}) {
		t.Errorf("the next request is not about object 17: %x", b)
	}
}

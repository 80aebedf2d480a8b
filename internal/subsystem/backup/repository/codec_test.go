package repository

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"allclear/internal/subsystem/backup/source"
)

// The reference program's structure of a node, which encoding/json turns into the format.
type referenceNode struct {
	Name       string           `json:"name"`
	Type       string           `json:"type"`
	Mode       uint32           `json:"mode,omitempty"`
	ModTime    time.Time        `json:"mtime"`
	AccessTime time.Time        `json:"atime"`
	ChangeTime time.Time        `json:"ctime"`
	UID        uint32           `json:"uid"`
	GID        uint32           `json:"gid"`
	User       string           `json:"user,omitempty"`
	Group      string           `json:"group,omitempty"`
	Inode      uint64           `json:"inode,omitempty"`
	DeviceID   uint64           `json:"device_id,omitempty"`
	Size       uint64           `json:"size,omitempty"`
	Links      uint64           `json:"links,omitempty"`
	LinkTarget string           `json:"linktarget,omitempty"`
	LinkRaw    []byte           `json:"linktarget_raw,omitempty"`
	Xattrs     []referenceXattr `json:"extended_attributes,omitempty"`
	Device     uint64           `json:"device,omitempty"`
	Content    []string         `json:"content"`
	Subtree    *string          `json:"subtree,omitempty"`
	Error      string           `json:"error,omitempty"`
}

type referenceXattr struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

func reference(n *Node) referenceNode {
	quoted := strconv.Quote(n.Name)
	out := referenceNode{
		Name: quoted[1 : len(quoted)-1], Type: string(n.Type), Mode: uint32(n.Mode),
		ModTime: n.ModTime, AccessTime: n.AccessTime, ChangeTime: n.ChangeTime, UID: n.UID, GID: n.GID,
		User: n.User, Group: n.Group, Inode: n.Inode, DeviceID: n.DeviceID, Size: uint64(n.Size), Links: n.Links,
		LinkTarget: n.LinkTarget, Device: n.Device, Error: n.Error,
	}
	if !utf8.ValidString(n.LinkTarget) {
		out.LinkRaw = []byte(n.LinkTarget)
	}
	for _, x := range n.Xattrs {
		out.Xattrs = append(out.Xattrs, referenceXattr{x.Name, append([]byte{}, x.Value...)})
	}
	if n.Type == source.Regular {
		out.Content = []string{}
	}
	for _, id := range n.Content {
		out.Content = append(out.Content, id.String())
	}
	if !n.Subtree.IsZero() {
		s := n.Subtree.String()
		out.Subtree = &s
	}
	return out
}

// encodeTree answers the plaintext of a tree blob.
func encodeTree(nodes []Node) []byte {
	b := []byte(treeHead)
	for i := range nodes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNode(b, &nodes[i])
	}
	return append(b, treeTail...)
}

func drawID(t *rapid.T, label string) ID {
	return ID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label))
}

// drawBytes is text with all that can be wrong with it.
func drawBytes(t *rapid.T, label string) string {
	parts := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"<", ">", "&", `"`, `\`, "\u2028", "\u2029", "\xff", "\xed\xa0\x80", "\x00", "\b\f\n\r\t\x1f\x7f", "😀", "é",
	})), 0, 4).Draw(t, label)
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return string(out)
}

func drawTime(t *rapid.T, label string) time.Time {
	sec := rapid.Int64Range(-62167219200, 253402300799-86400).Draw(t, label)
	zone := rapid.IntRange(-23*60, 23*60).Draw(t, label+" zone")
	at := time.Unix(sec, rapid.Int64Range(0, 999999999).Draw(t, label+" ns"))
	if zone == 0 {
		return at.UTC()
	}
	out := at.In(time.FixedZone("", zone*60))
	if y := out.Year(); y < 0 || y > 9999 {
		return at.UTC()
	}
	return out
}

func drawNode(t *rapid.T) Node {
	n := Node{Name: drawBytes(t, "name"), Meta: source.Meta{
		Type: rapid.SampledFrom([]source.Type{source.Regular, source.Dir, source.Symlink, source.Device, source.CharDevice, source.Fifo, source.Socket}).Draw(t, "type"),
		Mode: fs.FileMode(rapid.Uint32().Draw(t, "mode")), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		ModTime: drawTime(t, "mtime"), AccessTime: drawTime(t, "atime"), ChangeTime: drawTime(t, "ctime"),
		Inode: rapid.Uint64().Draw(t, "inode"), DeviceID: rapid.Uint64().Draw(t, "dev"), Links: rapid.Uint64().Draw(t, "links"),
		Size: rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"), Device: rapid.Uint64().Draw(t, "device"),
		LinkTarget: drawBytes(t, "target"),
	}}
	// Names of users and the like are text: what is no UTF-8 in them is lost, as in every program.
	n.User, n.Group = rapid.String().Draw(t, "user"), rapid.String().Draw(t, "group")
	for range rapid.IntRange(0, 3).Draw(t, "xattrs") {
		n.Xattrs = append(n.Xattrs, source.Xattr{Name: rapid.String().Draw(t, "xattr"), Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")})
	}
	switch n.Type {
	case source.Regular:
		for range rapid.IntRange(0, 3).Draw(t, "blobs") {
			n.Content = append(n.Content, drawID(t, "blob"))
		}
	case source.Dir:
		n.Subtree = drawID(t, "subtree")
	}
	return n
}

func TestNodesAreWrittenAsTheReferenceWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNode(t)
		want, err := json.Marshal(reference(&n))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(appendNode(nil, &n))); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTreesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawNode), 0, 4).Draw(t, "nodes")
		got, err := decodeTree(encodeTree(want))
		if err != nil {
			t.Fatal(err)
		}
		opts := cmp.Options{cmp.AllowUnexported(Node{}), cmpopts.EquateEmpty()}
		if diff := cmp.Diff(want, got, opts); diff != "" {
			t.Fatal(diff)
		}
		if again := encodeTree(got); !bytes.Equal(again, encodeTree(want)) {
			t.Fatal("written once more, the bytes differ")
		}
	})
}

func TestTimesBeyondTheYears0To9999AreMoved(t *testing.T) {
	for at, want := range map[time.Time]string{
		time.Date(10001, 2, 3, 4, 5, 6, 7, time.UTC): `"9999-02-03T04:05:06.000000007Z"`,
		time.Date(-4, 2, 3, 4, 5, 6, 0, time.UTC):    `"0000-02-03T04:05:06Z"`,
	} {
		if got := string(appendTime(nil, at)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func drawBlobs(t *rapid.T) []packedBlob {
	var out []packedBlob
	var at uint32
	for range rapid.IntRange(0, 20).Draw(t, "blobs") {
		b := packedBlob{id: drawID(t, "id"), kind: Kind(rapid.IntRange(0, 1).Draw(t, "kind")), offset: at, length: rapid.Uint32Range(33, 1<<20).Draw(t, "length")}
		b.id[0] |= 1 // not zero
		if rapid.Bool().Draw(t, "compressed") {
			b.plain = rapid.Uint32Range(1, 1<<22).Draw(t, "plain")
		}
		at += b.length
		out = append(out, b)
	}
	return out
}

func TestPackHeadersAndIndexesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawBlobs(t)
		got, err := decodeHeader(encodeHeader(want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("header: %v\n%v\n%v", err, got, want)
		}
		pack := packEntry{ID{1}, want}
		var back []packEntry
		err = decodeIndex(encodeIndex([]packEntry{pack, {ID{2}, nil}}), func(e packEntry) error {
			back = append(back, e)
			return nil
		})
		if err != nil || len(back) != 2 || back[0].id != pack.id || !slices.Equal(back[0].blobs, want) {
			t.Fatalf("index: %v\n%v\n%v", err, back, want)
		}
	})
}

func TestIndexKeepsEveryCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		model := map[claim][]ID{}
		ids := []ID{{1}, {2}, {3}, {1, 1}, {4}} // few, so that copies come
		for n := range rapid.IntRange(0, 60).Draw(t, "packs") {
			pack := ID{byte(n), 9}
			var blobs []packedBlob
			for i := range rapid.IntRange(0, 4).Draw(t, "blobs") {
				b := packedBlob{id: rapid.SampledFrom(ids).Draw(t, "id"), kind: Kind(rapid.IntRange(0, 1).Draw(t, "kind")), offset: uint32(100 * i), length: 50}
				if rapid.Bool().Draw(t, "other") {
					b.id = ID{byte(n), byte(i), 77}
				}
				blobs = append(blobs, b)
				model[claim{b.id, b.kind}] = append(model[claim{b.id, b.kind}], pack)
			}
			for range 2 { // the second time, as from another index file, changes nothing
				if err := x.add(pack, blobs); err != nil {
					t.Fatal(err)
				}
			}
		}
		for c, want := range model {
			var got []ID
			for _, l := range x.findAll(c.kind, c.id) {
				got = append(got, l.pack)
			}
			byID := func(a, b ID) int { return bytes.Compare(a[:], b[:]) }
			slices.SortFunc(got, byID)
			slices.SortFunc(want, byID)
			if !slices.Equal(got, want) {
				t.Fatalf("%v is in %v, want %v", c, got, want)
			}
			if x.claim(c.kind, c.id) {
				t.Fatalf("%v can be claimed although it is stored", c)
			}
		}
		if x.has(DataBlob, ID{99}) || !x.claim(DataBlob, ID{99}) || x.claim(DataBlob, ID{99}) {
			t.Fatal("a new blob can be claimed exactly once")
		}
	})
}

func TestSealedDataOpensOnlyWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "key")
		key, err := newSealKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		sealed := key.seal([]byte("before"), plain)[6:]
		if len(sealed) != len(plain)+sealOverhead {
			t.Fatalf("%d bytes sealed to %d", len(plain), len(sealed))
		}
		if got, err := key.open([]byte("x"), sealed); err != nil || !bytes.Equal(got[1:], plain) {
			t.Fatal(err)
		}
		bad := bytes.Clone(sealed)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "where")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := key.open(nil, bad); err == nil {
			t.Fatal("altered data opened")
		}
		if _, err := key.open(nil, sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("truncated data opened")
		}
		if got, err := key.openInPlace(sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatal(err)
		}
	})
}

// TestPoly1305AESVector is the second vector of D. J. Bernstein's paper "The Poly1305-AES message-authentication code",
// appendix B: k, r, n and the tag of an empty message.
func TestPoly1305AESVector(t *testing.T) {
	unhex := func(s string) []byte {
		var out []byte
		for i := 0; i < len(s); i += 2 {
			v, err := strconv.ParseUint(s[i:i+2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, byte(v))
		}
		return out
	}
	k, r, n := unhex("75deaa25c09f208e1dc4ce6b5cad3fbf"), unhex("a0f3080000f46400d0c7e9076c834403"), unhex("61ee09218d29b0aaed7e154a2c5509cc")
	key, err := newSealKey(slices.Concat(make([]byte, 32), k, r))
	if err != nil {
		t.Fatal(err)
	}
	tag := key.tag(n, nil)
	if !bytes.Equal(tag[:], unhex("dd3fab2251f11ac759f0887129cc2ee7")) {
		t.Errorf("tag %x", tag)
	}
}

func TestCompressedLengthsAreBounded(t *testing.T) {
	c, err := newCodec(2, CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	packed := c.compress(nil, make([]byte, 1<<20))
	for _, length := range []int{1<<20 - 1, 1<<20 + 1, 1 << 30, math.MaxUint32} {
		if _, err := c.expand(nil, packed, length); err == nil {
			t.Errorf("%d bytes came out of a frame of 1 MiB", length)
		}
	}
	if _, err := c.expandUpTo(packed, 1<<20-1); err == nil {
		t.Error("a frame came out larger than its bound")
	}
	if out, err := c.expandUpTo(packed, 1<<20); err != nil || len(out) != 1<<20 {
		t.Error(err)
	}
}

func TestKeyFilesAreBounded(t *testing.T) {
	for _, k := range []KDF{{0, 8, 1}, {3, 8, 1}, {1 << 20, 16, 1}, {1 << 40, 1, 1}, {32768, 8, 65}, {32768, 0, 1}, {2, math.MaxInt, 1}, {-2, 1, 1}, {2, -1, 1}} {
		if k.Valid() == nil {
			t.Errorf("%+v is accepted", k)
		}
	}
	for _, k := range []KDF{DefaultKDF(), {1 << 20, 8, 1}} {
		if err := k.Valid(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigIsJudged(t *testing.T) {
	id := ID{7}.String()
	for text, fine := range map[string]bool{
		`{"version":2,"id":"` + id + `","chunker_polynomial":"2e1b5b184d5831"}`: true,
		`{"version":1,"id":"` + id + `","chunker_polynomial":"2e1b5b184d5831"}`: true,
		`{"version":3,"id":"` + id + `","chunker_polynomial":"2e1b5b184d5831"}`: false,
		`{"version":0,"id":"` + id + `","chunker_polynomial":"2e1b5b184d5831"}`: false,
		`{"version":2,"id":"` + id + `","chunker_polynomial":"2e1b5b184d5830"}`: false, // even
		`{"version":2,"id":"` + id + `","chunker_polynomial":"7"}`:              false, // irreducible, of degree 2
		`{"version":2,"id":"` + id + `"}`:                                       false,
		`{"version":2,"id":"x","chunker_polynomial":"2e1b5b184d5831"}`:          false,
	} {
		if _, err := parseConfig([]byte(text)); (err == nil) != fine {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNamesThatLeadOutAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00"} {
		if (&Node{Name: name}).ValidName() == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add(encodeTree([]Node{{Name: "a", Meta: source.Meta{Type: source.Regular}}}))
	f.Add([]byte(`{"":[{"":-00}]}`)) // found by fuzzing: no number
	f.Add([]byte(`{"nodes":[{"name":"x","content":null,"zz":[{"q":-1.5e3}],"generic_attributes":{"a":1}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, err := decodeTree(b)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("read what is no JSON: %q", b)
		}
		again, err := decodeTree(encodeTree(nodes))
		if err != nil || len(again) != len(nodes) {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

// FuzzIndex compares with encoding/json on what both accept.
func FuzzIndex(f *testing.F) {
	f.Add(encodeIndex([]packEntry{{ID{1}, []packedBlob{{ID{2}, TreeBlob, 0, 40, 99}}}}))
	f.Add([]byte(`{"supersedes":["x"],"packs":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []packEntry
		if err := decodeIndex(b, func(e packEntry) error { got = append(got, e); return nil }); err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("read what is no JSON: %q", b)
		}
		for _, e := range got {
			for _, l := range e.blobs {
				if l.length <= sealOverhead || uint64(l.offset)+uint64(l.length) >= 1<<32 {
					t.Fatalf("let through %+v", l)
				}
			}
		}
	})
}

func FuzzPackHeader(f *testing.F) {
	f.Add(encodeHeader([]packedBlob{{ID{2}, TreeBlob, 0, 40, 99}, {ID{3}, DataBlob, 40, 50, 0}}), int64(200))
	key, err := newSealKey(make([]byte, 64))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if blobs, err := decodeHeader(b); err == nil && !bytes.Equal(encodeHeader(blobs), b) {
			t.Fatal("the header is not what it was read as")
		}
		_, _, _ = openHeader(key, b, size)
		sealed := key.seal(nil, b)
		tail := binary.LittleEndian.AppendUint32(sealed, uint32(len(sealed)))
		if blobs, _, err := openHeader(key, tail, size); err == nil && packSize(blobs) != size {
			t.Fatal("a pack of a wrong size was let through")
		}
	})
}

func FuzzStoredFiles(f *testing.F) {
	f.Add([]byte(`{"version":2,"id":"","chunker_polynomial":"2e1b5b184d5831"}`))
	f.Add([]byte(`{"time":"2024-03-01T10:00:00Z","tree":"f85848268c0a2b8d07b0ef41577dd0b769fe0ad23d5854908de4c681b2aa5a54","paths":["/sample"]}`))
	f.Add([]byte(`{"kdf":"scrypt","N":16,"r":1,"p":1,"salt":"","data":""}`))
	f.Add([]byte(`{"time":"2024-03-01T10:00:00Z","exclusive":true,"pid":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseConfig(b); err == nil && c.Polynomial.Deg() != 53 {
			t.Fatalf("config %+v", c)
		}
		if s, err := parseSnapshot(ID{}, b); err == nil && s.Tree == nil {
			t.Fatal("a snapshot without a tree")
		}
		if k, err := parseKeyFile(b); err == nil && (KDF{k.N, k.R, k.P}).Valid() != nil {
			t.Fatal("a key file that costs too much")
		}
		_, _ = parseLock(ID{}, b)
	})
}

func FuzzUnpacked(f *testing.F) {
	c, err := newCodec(2, CompressDefault)
	if err != nil {
		f.Fatal(err)
	}
	key, err := newSealKey(make([]byte, 64))
	if err != nil {
		f.Fatal(err)
	}
	r := &Repository{codec: c, key: key}
	f.Add(c.compress([]byte{compressedMark}, []byte("{}")))
	f.Add(c.compress([]byte{compressedMark}, make([]byte, 1<<20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := r.decodeUnpacked(key.seal(nil, b), 1<<16)
		if err == nil && len(out) > 1<<16 {
			t.Fatalf("%d bytes came out", len(out))
		}
	})
}

// FuzzJSONText compares strings with encoding/json.
func FuzzJSONText(f *testing.F) {
	for _, s := range []string{`"a"`, `"\ud83d\ude00"`, `"\ud83d\u0041"`, `"\ud83d"`, `"\u00e9\n\/"`, "\"\xff\"", `"\x"`, "\"\x01\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &jsonReader{b: b}
		got, err := p.text()
		if err == nil {
			got, err = bytes.Clone(got), p.end()
		}
		var want string
		wantErr := json.Unmarshal(b, &want)
		if string(bytes.TrimSpace(b)) == "null" {
			wantErr = errors.New("null is no text")
		}
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != want {
			t.Fatalf("%q: %q %v, encoding/json has %q %v", b, got, err, want, wantErr)
		}
	})
}

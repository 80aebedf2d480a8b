package kmip

import (
	"fmt"
	"strconv"
	"strings"

	"allclear/kmip/ttlv"
)

// Version is a protocol version: major in the upper, minor in the lower 16 bits, so
// that versions compare as numbers. 0 is none.
type Version uint32

// The versions of the protocol that this package speaks.
const (
	V1_0 Version = 0x1_0000
	V1_1 Version = 0x1_0001
	V1_2 Version = 0x1_0002
	V1_3 Version = 0x1_0003
	V1_4 Version = 0x1_0004
	V2_0 Version = 0x2_0000
	V2_1 Version = 0x2_0001
)

// Major is the number before the dot.
func (v Version) Major() int { return int(v >> 16) }

// Minor is the number after the dot.
func (v Version) Minor() int { return int(v & 0xFFFF) }

// String is such as 1.4.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// Known tells whether this package speaks the version.
func (v Version) Known() bool {
	return v >= V1_0 && v <= V1_4 || v == V2_0 || v == V2_1
}

// ParseVersion reads such as 1.4; both numbers are 0 to 65535, the major not 0.
func ParseVersion(s string) (Version, error) {
	major, minor, ok := strings.Cut(s, ".")
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(minor, 10, 16)
	if !ok || errA != nil || errB != nil || a == 0 {
		return 0, fmt.Errorf("KMIP version %q is not like 1.4", s)
	}
	return Version(a<<16 | b), nil
}

func (e *enc) version(v Version) {
	m := e.Begin(ttlv.TagProtocolVersion)
	e.Integer(ttlv.TagProtocolVersionMajor, int32(v.Major()))
	e.Integer(ttlv.TagProtocolVersionMinor, int32(v.Minor()))
	e.End(m)
}

func (d *dec) version() Version {
	d.Enter(ttlv.TagProtocolVersion)
	major := d.Integer(ttlv.TagProtocolVersionMajor)
	minor := d.Integer(ttlv.TagProtocolVersionMinor)
	d.Leave()
	if d.Err() == nil && (major < 1 || major > 0xFFFF || minor < 0 || minor > 0xFFFF) {
		d.Fail(fmt.Sprintf("protocol version %d.%d", major, minor))
	}
	if d.Err() != nil {
		return 0
	}
	return Version(uint32(major)<<16 | uint32(minor))
}

package host

import (
	"io"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// Senses are what a Host looks at, for tests to replace.
type Senses struct {
	Space  func(dir string) (Space, error)
	Memory func() (available, total uint64, err error)
	Clock  func() fault.Clock
}

// NewSensing is New with other senses; nil ones are the real ones.
func NewSensing(opts Options, s Senses) *Host {
	h := New(opts, s.Clock)
	if s.Space != nil {
		h.space = s.Space
	}
	if s.Memory != nil {
		h.memory = s.Memory
	}
	return h
}

// SpaceOf asks the file system itself.
func SpaceOf(dir string) (Space, error) { return spaceOf(dir) }

// ParseMemory reads text in the form of /proc/meminfo.
func ParseMemory(r io.Reader) (available, total uint64, err error) { return parseMemory(r) }

// DiskCheck looks at the free space of a directory other than the state's.
func (h *Host) DiskCheck(resource, dir string) check.Check { return h.diskCheck(resource, dir) }

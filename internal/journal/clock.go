package journal

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/fault"
)

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// SystemClock returns the reader of this machine's clocks.
func SystemClock() (func() fault.Clock, error) {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return nil, fmt.Errorf("read the boot id: %w", err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return nil, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	boot := strings.TrimSpace(string(id))
	return func() fault.Clock {
		var ts unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // it worked above and cannot fail since
		return fault.Clock{Wall: civil(time.Now()), Boot: time.Duration(ts.Nano()), BootID: boot}
	}, nil
}

// civil makes t the same before and after a trip through JSON.
func civil(t time.Time) time.Time { return t.Round(0).UTC() }

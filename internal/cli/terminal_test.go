package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to tty can be read from
// screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	cases := []struct {
		name     string
		terminal bool
		env      []string
		colour   bool
	}{
		{"a terminal", true, []string{"TERM=xterm-256color"}, true},
		{"NO_COLOR", true, []string{"TERM=xterm-256color", "NO_COLOR=1"}, false},
		{"an empty NO_COLOR counts as none (no-color.org)", true, []string{"TERM=xterm-256color", "NO_COLOR="}, true},
		{"a dumb terminal", true, []string{"TERM=dumb"}, false},
		{"a file", false, []string{"TERM=xterm-256color"}, false},
		{"a file, whatever is forced", false, []string{"TERM=xterm-256color", "CLICOLOR_FORCE=1"}, false},
	}
	for _, c := range cases {
		var w, read *os.File
		var err error
		if c.terminal {
			read, w = terminal(t)
		} else if read, w, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		p := newPrinter(w, c.env, time.Now)
		p.line("%s", p.style(styleBad, "critical"))
		buf := make([]byte, 256)
		n, err := read.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got := string(buf[:n])
		if !strings.Contains(got, "critical") || strings.Contains(got, "\x1b[") != c.colour || p.terminal != c.terminal {
			t.Errorf("%s: wrote %q, terminal %v; colour %v is wanted", c.name, got, p.terminal, c.colour)
		}
	}
}

package app

import (
	"os"
	"path/filepath"
)

// StateDir is where an agent keeps its state unless told otherwise:
// /var/lib/allclear for root, else below the home directory.
func StateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/allclear"
	}
	return filepath.Join(home(), ".local", "state", "allclear")
}

// Socket is where an agent listens, and where commands look for it, unless told
// otherwise. It does not depend on the state directory.
func Socket() string {
	if s := os.Getenv("ALLCLEAR_SOCKET"); s != "" {
		return s
	}
	if os.Geteuid() == 0 {
		return "/run/allclear/allclear.sock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "allclear.sock")
	}
	return filepath.Join(StateDir(), "allclear.sock")
}

// home is the user's home directory, or one of the user's own below the
// system's temporary directory where there is none.
func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		return dir
	}
	return filepath.Join(os.TempDir(), "allclear-home")
}

package archive

import (
	"slices"

	"allclear/internal/subsystem/backup/source"
)

// maxConfigFile is the size up to which a file can be configuration.
const maxConfigFile = 4 << 20

// notConfig are what the profile "config" leaves out beyond the job's own patterns: logs, caches, left-overs of editors,
// databases, core dumps.
var notConfig = [...]string{
	"*.log", "*.log.[0-9]*", "log/", "logs/", "cache/", "caches/", ".cache/", "tmp/", "*.tmp", "*.swp", "*.swo", "*~", ".#*", "#*#",
	"*.sock", "*.pid", "*.lock", "core", "core.[0-9]*", "lost+found/", "*.db-wal", "*.db-shm", "*.sqlite-wal", "*.sqlite-shm",
}

// ConfigOnly narrows the options to configuration: without logs, caches, left-overs and files of more than 4 MiB. What it
// leaves out counts as excluded.
func ConfigOnly(o source.Options) source.Options {
	o.Exclude = slices.Concat(o.Exclude, notConfig[:])
	if o.MaxFileBytes == 0 || o.MaxFileBytes > maxConfigFile {
		o.MaxFileBytes = maxConfigFile
	}
	return o
}

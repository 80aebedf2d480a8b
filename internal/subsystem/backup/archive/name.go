package archive

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Endings of the two files of an archive.
const (
	ArchiveEnding  = ".tar.zst.age"
	ManifestEnding = ".manifest.json"
)

// timeForm is the time in names: UTC, to the second, in an order that sorts.
const timeForm = "20060102T150405Z"

var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

var errName = errors.New("is no name of an archive")

// Name answers the file name of a job's archive of that time. Jobs are named as the configuration demands: letters,
// digits, ".", "_" and "-".
func Name(job string, t time.Time) (string, error) {
	if !jobName.MatchString(job) {
		return "", fmt.Errorf("job name %q cannot be part of a file name", job)
	}
	return job + "-" + t.UTC().Format(timeForm) + ArchiveEnding, nil
}

// ManifestName answers the name of the manifest that belongs to the archive.
func ManifestName(archive string) string {
	return strings.TrimSuffix(archive, ArchiveEnding) + ManifestEnding
}

// ParseName answers what the name of an archive says.
func ParseName(name string) (job string, t time.Time, err error) {
	base, ok := strings.CutSuffix(name, ArchiveEnding)
	at := strings.LastIndexByte(base, '-')
	if !ok || at < 1 || !jobName.MatchString(base[:at]) {
		return "", time.Time{}, fmt.Errorf("%q %w", name, errName)
	}
	t, err = time.Parse(timeForm, base[at+1:])
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%q %w: %w", name, errName, err)
	}
	return base[:at], t, nil
}

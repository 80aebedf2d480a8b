package wire

import (
	"time"

	"allclear/internal/fault"
)

// BackupJob is a job with its plan, its newest runs and what was proved of its
// copies.
type BackupJob struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"` // repository, archive
	Target   string   `json:"target"`
	Location string   `json:"location"` // the folder at the target
	Sources  []string `json:"sources"`
	Command  []string `json:"command,omitempty"`
	Schedule string   `json:"schedule"` // "" on demand only
	// Disabled says why the schedule is not followed; "" when it is.
	Disabled string     `json:"disabled,omitempty"`
	Next     *time.Time `json:"next"` // null: nothing is planned
	// State is running, waiting, success, failed, interrupted or never.
	State string `json:"state"`
	// OverdueAfter is the age of the last verified copy at which the job is
	// overdue, "" when nothing says so.
	OverdueAfter string      `json:"overdue_after"`
	Running      *BackupRun  `json:"running"`
	Last         *BackupRun  `json:"last"` // newest that has ended
	Proof        BackupProof `json:"proof"`
	Key          BackupKey   `json:"key"`
}

// BackupProof is what was proved of a job's copies, and when.
type BackupProof struct {
	// Verified is the start of the newest run whose copy was read back and agreed.
	Verified *time.Time `json:"verified"`
	Copy     string     `json:"copy,omitempty"` // snapshot or archive of that run
	// Structure is when all that the copies need was last found complete.
	Structure *time.Time `json:"structure"`
	// ReadPercent is how much of the copies was read back within ReadWithin, the
	// time in which all should be; ReadOldest is the oldest reading that counts,
	// null while a part was never read.
	ReadPercent float64      `json:"read_percent"`
	ReadWithin  string       `json:"read_within"`
	ReadOldest  *time.Time   `json:"read_oldest"`
	Drill       *BackupDrill `json:"drill"` // newest restore drill
	// DrillPassed is when a restore drill last passed.
	DrillPassed *time.Time `json:"drill_passed"`
}

// BackupKey says what a job's key hangs on. It never holds the key.
type BackupKey struct {
	State    string `json:"state"` // none-yet, readable, unavailable, unknown
	Local    bool   `json:"local"` // only a file on this machine opens it
	Recovery bool   `json:"recovery"`
	Cached   bool   `json:"cached"`
	From     string `json:"from,omitempty"` // which key server, if one gave it
	Why      string `json:"why,omitempty"`
}

// BackupRun is the record of one run of a job.
type BackupRun struct {
	ID      string     `json:"id"`
	Job     string     `json:"job"`
	Kind    string     `json:"kind"`
	Target  string     `json:"target"`
	Trigger string     `json:"trigger"` // schedule, catch-up, operator
	State   string     `json:"state"`   // running, success, failed, interrupted
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended"`
	Try     int        `json:"try"` // 1 and up
	Tries   int        `json:"tries"`
	// Retry is when the next try begins, while the run waits for it.
	Retry   *time.Time    `json:"retry,omitempty"`
	Percent float64       `json:"percent"` // 0..100 of the whole run
	Stages  []BackupStage `json:"stages"`  // begin, source, transfer, verify, done
	Result  BackupResult  `json:"result"`

	Files      int64   `json:"files"`       // in the copy
	Bytes      int64   `json:"bytes"`       // of those files
	FilesNew   int64   `json:"files_new"`   // not in the copy before
	FilesDiff  int64   `json:"files_diff"`  // changed since the copy before
	BytesSent  int64   `json:"bytes_sent"`  // that went to the target
	BytesRead  int64   `json:"bytes_read"`  // read back by the verify stage
	Rate       float64 `json:"rate"`        // bytes_sent a second of the transfer stage
	DurationMS int64   `json:"duration_ms"` // till now, or till the end

	Copy     string            `json:"copy,omitempty"`     // snapshot id or archive name
	Protocol string            `json:"protocol,omitempty"` // sftp, scp
	Server   string            `json:"server,omitempty"`   // its version line
	SSH      *BackupAlgorithms `json:"ssh,omitempty"`
	// Skipped are files that could not be read; SkippedCount counts them all,
	// Skipped lists at most 100.
	SkippedCount int             `json:"skipped_count"`
	Skipped      []BackupSkipped `json:"skipped,omitempty"`
	Removed      int             `json:"removed"` // copies that retention took away
	Notes        []string        `json:"notes,omitempty"`
	// UCS is the run as the one line that an appliance's fault list shows.
	UCS string `json:"ucs"`
}

// BackupStage is one stage of a run.
type BackupStage struct {
	Name    string     `json:"name"`
	Order   int        `json:"order"` // 1 and up
	State   string     `json:"state"` // pending, in-progress, success, fail, skip
	Try     int        `json:"try"`
	Percent float64    `json:"percent"` // 0..100
	Started *time.Time `json:"started"`
	Ended   *time.Time `json:"ended"`
	Text    string     `json:"text,omitempty"`
}

// BackupResult is how a run ended.
type BackupResult struct {
	// Class is ok, ok-with-skips, ip, password, space, access, timeout,
	// algorithm, trust, protocol, transfer, source, key, verify, interrupted or
	// internal.
	Class string `json:"class"`
	// Code is the fault that names the cause, "" when the run succeeded.
	Code      fault.Code `json:"code,omitempty"`
	Qualifier string     `json:"qualifier,omitempty"`
	Stage     string     `json:"stage,omitempty"` // where it failed
	Path      string     `json:"path,omitempty"`  // what it was about, here or there
	// Remote is what the other side answered: an SFTP status, an errno, an SSH
	// failure.
	Remote string `json:"remote,omitempty"`
	Text   string `json:"text,omitempty"`
}

// BackupAlgorithms are what a session agreed on.
type BackupAlgorithms struct {
	Policy    string `json:"policy"`
	KEX       string `json:"kex"`
	HostKey   string `json:"host_key"`
	CipherC2S string `json:"cipher_c2s"`
	CipherS2C string `json:"cipher_s2c"`
	MACC2S    string `json:"mac_c2s,omitempty"` // "" with an AEAD cipher
	MACS2C    string `json:"mac_s2c,omitempty"`
}

// BackupSkipped is a file that is not in the copy.
type BackupSkipped struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// BackupTarget is a place that copies go to.
type BackupTarget struct {
	Name     string   `json:"name"`
	Address  string   `json:"address"`
	User     string   `json:"user"`
	Path     string   `json:"path"`
	Protocol string   `json:"protocol"`
	Policy   string   `json:"policy"`
	Jobs     []string `json:"jobs"`
	// Ours, Theirs and Common are the algorithms by category: kex, host_key,
	// cipher_c2s, cipher_s2c, mac_c2s, mac_s2c. Theirs is empty before a look.
	Ours   map[string][]string `json:"ours"`
	Theirs map[string][]string `json:"theirs"`
	Common map[string][]string `json:"common"`
	Chosen *BackupAlgorithms   `json:"chosen"`
	Server string              `json:"server,omitempty"`
	Looked *time.Time          `json:"looked"`
	Free   *uint64             `json:"free"` // bytes; null when the server does not say
	Total  *uint64             `json:"total"`
	State  string              `json:"state"` // reached, failed, not-yet
	Why    string              `json:"why,omitempty"`
}

// BackupSnapshot is one restorable copy.
type BackupSnapshot struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Host    string    `json:"host,omitempty"`
	Paths   []string  `json:"paths"`
	Tags    []string  `json:"tags,omitempty"`
	Size    int64     `json:"size"`  // bytes at the target; 0 when not known
	Files   int64     `json:"files"` // 0 when not known
	Program string    `json:"program,omitempty"`
}

// BackupFile is a file in a copy.
type BackupFile struct {
	Snapshot string    `json:"snapshot"`
	Path     string    `json:"path"`
	Type     string    `json:"type"` // file, dir, symlink, ...
	Mode     string    `json:"mode"` // as ls prints it
	Owner    string    `json:"owner,omitempty"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Link     string    `json:"link,omitempty"`
}

// BackupVerify is what a verification found.
type BackupVerify struct {
	Job         string    `json:"job"`
	OK          bool      `json:"ok"`
	At          time.Time `json:"at"`
	DurationMS  int64     `json:"duration_ms"`
	Copies      int       `json:"copies"`  // snapshots or archives looked at
	Objects     int64     `json:"objects"` // files at the target
	Bytes       int64     `json:"bytes"`   // of those
	BytesRead   int64     `json:"bytes_read"`
	ReadPercent float64   `json:"read_percent"` // of everything, read within the full read time
	Problems    []string  `json:"problems"`
}

// BackupDrill is what a restore drill found. It restores nothing: files are
// streamed, hashed and compared with the hashes taken when they were saved.
type BackupDrill struct {
	ID         string    `json:"id"`
	Job        string    `json:"job"`
	Passed     bool      `json:"passed"`
	At         time.Time `json:"at"`
	DurationMS int64     `json:"duration_ms"`
	Copy       string    `json:"copy"`
	Files      int       `json:"files"`
	Bytes      int64     `json:"bytes"`
	// First is the first file that was not as it was saved.
	First string `json:"first,omitempty"`
	Why   string `json:"why,omitempty"`
}

// BackupSecret is a key that was asked for: a repository's password or an
// archive's age identity.
type BackupSecret struct {
	Job    string `json:"job"`
	Secret string `json:"secret"`
}

// BackupHostKey is a key that a target has proved to hold.
type BackupHostKey struct {
	Target      string `json:"target"`
	Address     string `json:"address"`
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Line        string `json:"line"`    // for known_hosts
	Trusted     bool   `json:"trusted"` // stored by this request, or before
}

// The requests of the actions.
type (
	// BackupRunRequest starts a run; Wait answers when it has ended.
	BackupRunRequest struct {
		Job  string `json:"job"`
		Wait bool   `json:"wait"`
	}
	// BackupJobRequest names a job. Full reads back every byte, where that has a
	// meaning.
	BackupJobRequest struct {
		Job  string `json:"job"`
		Full bool   `json:"full,omitempty"`
	}
	// BackupTrustRequest asks for a target's host key; with its fingerprint the key
	// is trusted from then on.
	BackupTrustRequest struct {
		Target      string `json:"target"`
		Fingerprint string `json:"fingerprint,omitempty"`
	}
	// BackupListRequest lists files of a copy: those directly below Path, or, with
	// Match, all below it whose name matches the pattern. Snapshot "" or "latest"
	// is the newest.
	BackupListRequest struct {
		Job      string `json:"job"`
		Snapshot string `json:"snapshot,omitempty"`
		Path     string `json:"path,omitempty"`
		Match    string `json:"match,omitempty"`
		Limit    int    `json:"limit,omitempty"`
	}
)

// BackupPolicy is an algorithm policy as the targets use it.
type BackupPolicy struct {
	Name       string                  `json:"name"`
	Targets    []string                `json:"targets"`
	Why        string                  `json:"why,omitempty"`
	Algorithms []BackupPolicyAlgorithm `json:"algorithms"`
}

// BackupPolicyAlgorithm says who can do an allowed algorithm.
type BackupPolicyAlgorithm struct {
	Category string `json:"category"`
	Name     string `json:"name"`
	Go       bool   `json:"go"`
	OpenSSH  bool   `json:"openssh"`
}

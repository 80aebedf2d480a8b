package backup

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/source"
)

// KeyWrapper keeps the secret of a job sealed: the password of a repository or
// the age identity of an archive. The ids are "backup/JOB".
type KeyWrapper interface {
	// Protect seals a new secret. An id that has one is envelope.ErrExists.
	Protect(ctx context.Context, id string, secret []byte) error
	// Open gives the secret back and says what it hangs on. An id without one is
	// envelope.ErrNotFound. The caller clears the bytes.
	Open(ctx context.Context, id string) ([]byte, envelope.Info, error)
	// Describe says what the secret hangs on without opening it.
	Describe(id string) (envelope.Info, error)
}

// Endpoints hears how every connection to a target went. The owner of ssh/*
// takes it for a look of its own. Report returns without waiting for anybody.
type Endpoints interface {
	Report(target string, r sshpolicy.Result)
}

// Options are the jobs and what they need. Everything in it has been checked:
// names are unique in their kind, a job's target is there, policies are valid
// for the target's transport.
type Options struct {
	// Dir is the package's own folder in the state directory.
	Dir     string
	Node    string // the host's name in records, snapshots and archives
	Targets []Target
	Jobs    []Job
	Keys    KeyWrapper
	// KeyCauses are the faults that explain why no key opens, such as that of a
	// group of key servers of which none answers.
	KeyCauses []fault.Key
	// Endpoints may be nil: then nobody hears of connections.
	Endpoints Endpoints
	// Guards count refused logins together with whoever watches the targets; nil:
	// the package alone does.
	Guards *sshpolicy.Guards
	// KnownHosts remembers host keys that were trusted after the configuration.
	KnownHosts *sshpolicy.Store
	// Parallel is how many runs go at once; 0 is 2.
	Parallel int
	Log      *slog.Logger // nil: say nothing
}

// Target is a folder at a server that copies go to.
type Target struct {
	Name    string // the resource; the item of package watch has the same
	Address string // host:port
	User    string // for display; Login has it too
	Policy  sshpolicy.Policy
	// Planned is a tighter policy to come: a server that does not meet it raises
	// backup/upgrade-would-break. Its Name "" means none is planned.
	Planned   sshpolicy.Policy
	Transport sshpolicy.Transport // "" is Go
	Pins      []sshpolicy.Pin
	Login     func() (sshpolicy.Login, error) // reads the credential when it is used
	// KeyPEM reads the private key for the OpenSSH transport, when it is used.
	KeyPEM   func() ([]byte, error)
	Protocol sshpolicy.Protocol
	Path     string        // the folder, which must exist; relative to the account's own without a leading "/"
	Timeout  time.Duration // of one connection up to the login; 0 is 10 s
	Stall    time.Duration // without progress; 0 is 60 s
	// Every is the time between two looks that connect although no job ran; 0 is
	// six hours.
	Every time.Duration
	// Insecure are the settings of the target that weaken it.
	Insecure []Setting
	// Version changes when the login or another setting not named here does.
	Version string
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
}

// Setting is something that an operator has allowed although it is weaker than
// the default.
type Setting struct {
	Name  string // as in the configuration: "policy", "host_keys"
	Value string
	Why   string    // the operator's reason
	Until time.Time // zero: no end
}

// Kind is what a job makes.
type Kind string

// The kinds of artefact.
const (
	Repository Kind = "repository" // incremental snapshots, restic's format
	Archive    Kind = "archive"    // one tar.zst.age file each time
)

// Job is a thing to back up.
type Job struct {
	Name   string // the resource; also the folder below the target's Path
	Kind   Kind
	Target string
	// Sources are absolute paths; Command, instead of them, is a program whose
	// output is the content.
	Sources, Exclude []string
	OneFileSystem    bool
	Command          *source.Command
	// StoreAs is the name of the command's output in the copy; "" is the job's.
	StoreAs string
	// Profile is "full" or "config"; it is written into archives' manifests.
	Profile string

	Schedule Schedule // zero: on demand only
	Window   Window
	Jitter   time.Duration // the most that a start is put off
	Disabled string        // why the schedule is not followed
	Timeout  time.Duration // of one try; 0 is 24 h

	Keep Keep
	// Overdue is the age of the last verified copy that is too much; 0 is twice
	// the schedule's interval, never less than an hour. Without either nothing is
	// overdue.
	Overdue time.Duration
	Proof   Proof
	// Tries is how often a run is tried; 0 is 3. Backoff is the wait before the
	// second try, doubled for each further one; 0 is 30 s, or 2 s when an operator
	// waits.
	Tries   int
	Backoff time.Duration
	// Insecure are settings of the job that weaken it, such as run_as root.
	Insecure []Setting
}

// Keep says which copies stay. The zero value keeps all.
type Keep struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	// Within keeps everything younger; as the only rule it removes by age.
	Within time.Duration
}

// IsZero claims that nothing is ever removed.
func (k Keep) IsZero() bool { return k == Keep{} }

// Proof says how much is proved, and how often. Zero fields mean the defaults.
type Proof struct {
	// ReadPercent is how much of a copy is read back after each run, 1 to 100; 0
	// is 2.
	ReadPercent float64
	// Structure is the time between two looks at everything that copies need; 0
	// is a day.
	Structure time.Duration
	// FullRead is the time in which every byte is read back once; 0 is 30 days.
	FullRead time.Duration
	// Drill is the time between two restore drills; 0 is a week. DrillOverdue is
	// the age of the last one passed that is too much; 0 is 90 days.
	Drill, DrillOverdue time.Duration
}

const day = 24 * time.Hour

func (p Proof) readPercent() float64        { return min(100, cmp.Or(p.ReadPercent, 2)) }
func (p Proof) structure() time.Duration    { return cmp.Or(p.Structure, day) }
func (p Proof) fullRead() time.Duration     { return cmp.Or(p.FullRead, 30*day) }
func (p Proof) drill() time.Duration        { return cmp.Or(p.Drill, 7*day) }
func (p Proof) drillOverdue() time.Duration { return cmp.Or(p.DrillOverdue, 90*day) }
func (t *Target) every() time.Duration      { return cmp.Or(t.Every, 6*time.Hour) }
func (t *Target) timeout() time.Duration    { return cmp.Or(t.Timeout, sshpolicy.DefaultTimeout) }
func (j *Job) tries() int                   { return cmp.Or(j.Tries, 3) }
func (j *Job) timeout() time.Duration       { return cmp.Or(j.Timeout, day) }
func (j *Job) keyID() string                { return "backup/" + j.Name }
func (o *Options) parallel() int            { return cmp.Or(o.Parallel, 2) }

// backoff is the wait after a try.
func (j *Job) backoff(try int, asked bool) time.Duration {
	base := cmp.Or(j.Backoff, 30*time.Second)
	if j.Backoff == 0 && asked {
		base = 2 * time.Second
	}
	return base << (try - 1)
}

// overdueAfter is the age of the last verified copy that is too much; 0 when
// nothing says so.
func (j *Job) overdueAfter(now time.Time) time.Duration {
	if j.Overdue > 0 {
		return j.Overdue
	}
	if j.Schedule.IsZero() {
		return 0
	}
	return max(time.Hour, 2*j.Schedule.Interval(now)+j.Jitter)
}

func (o *Options) target(name string) (Target, bool) {
	for _, t := range o.Targets {
		if t.Name == name {
			return t, true
		}
	}
	return Target{}, false
}

func (o *Options) job(name string) (Job, bool) {
	for _, j := range o.Jobs {
		if j.Name == name {
			return j, true
		}
	}
	return Job{}, false
}

// jobsOf names the jobs that use a target, in the configuration's order.
func (o *Options) jobsOf(target string) []string {
	var names []string
	for _, j := range o.Jobs {
		if j.Target == target {
			names = append(names, j.Name)
		}
	}
	return names
}

package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Backup lists where to and what is backed up, in the order of the file.
type Backup struct {
	Targets []Target
	Jobs    []Job
}

// The protocols and transports of a backup target.
const (
	ProtocolSFTP = "sftp"
	ProtocolSCP  = "scp"
	ProtocolAny  = "any" // SFTP, and SCP where the server has no SFTP; the run says which

	TransportGo      = "go"      // ours
	TransportOpenSSH = "openssh" // the system's ssh, keys only
)

// Target is an SSH server that keeps copies. It is watched like any other.
type Target struct {
	Name      string // what faults call it; unique in its list
	Address   string // host:port, the port filled in (22)
	User      string
	Key       Secret // exactly one of Key and Password is set
	Password  Secret
	HostKeys  HostKeys // never TrustFirst
	Policy    string
	Planned   string // a tighter policy to come; "" means none
	Protocol  string // one of the Protocol constants
	Transport string // one of the Transport constants
	Path      string // the folder there; relative to the account's own when it does not begin with /
	Interval  time.Duration
	Timeout   time.Duration // of one look
	Stall     time.Duration // a transfer without progress for so long has failed
}

// The kinds of artefact that a job makes.
const (
	KindRepository = "repository"
	KindArchive    = "archive"
)

// The profiles of a job: everything that was named, or configuration files only.
const (
	ProfileFull   = "full"
	ProfileConfig = "config"
)

// Job is one thing that is backed up. It has Sources or a Command, never both.
type Job struct {
	Name          string // what faults and commands call it; unique in its list
	Kind          string // KindRepository or KindArchive
	Sources       []string
	Exclude       []string
	OneFileSystem bool
	Profile       string   // ProfileFull or ProfileConfig
	Command       []string // an argv, never a shell; of archives
	RunAs         string   // who runs Command; needed when the agent is root
	StoreAs       string   // the name of the command's output in the archive; "" means the job's
	Target        string   // the name of a target
	Schedule      string   // cron, five fields or @hourly and the like; "" runs on demand only. Its form is judged by app
	Jitter        time.Duration
	Window        string // "22:00-06:00": scheduled runs begin inside only; its form is judged by app
	Disabled      string // why the schedule is not followed; "" means that it is
	Tries         int
	Keep          Keep
	Overdue       time.Duration // age of the last verified copy that is a fault; 0: twice the schedule's longest gap
	Timeout       time.Duration // of a whole run; 0: none
	ReadBack      int           // percent of the data that is read back after each run
	FullRead      time.Duration // time in which all of the data is read back, in turns
	Drill         time.Duration // between two restore drills
}

// Keep says which copies are kept; one rule is enough to keep a copy. All zero
// keeps every copy.
type Keep struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	Within                                       time.Duration
}

func defaultTarget() Target {
	return Target{
		Policy: "openssh-9", Protocol: ProtocolSFTP, Transport: TransportGo,
		Interval: 5 * time.Minute, Timeout: 15 * time.Second, Stall: time.Minute,
	}
}

func defaultJob() Job {
	return Job{Profile: ProfileFull, Tries: 3, ReadBack: 2, FullRead: 30 * day, Drill: 7 * day}
}

func (b *Backup) keys() []key {
	return []key{
		{name: "targets", value: items[Target, *Target]{&b.Targets, defaultTarget, func(t *Target) string { return t.Name }}, doc: "SSH servers that keep copies. Each is watched like those of watch.ssh."},
		{name: "jobs", value: items[Job, *Job]{&b.Jobs, defaultJob, func(j *Job) string { return j.Name }}, doc: "What is backed up, where to and when."},
	}
}

func (t *Target) keys() []key {
	return []key{
		name(&t.Name),
		{name: "address", required: true, value: address(&t.Address, "22", false), doc: "host or host:port; the port is 22 when left out"},
		{name: "user", required: true, value: anyText(&t.User, "a user name", checkUser), doc: "who logs in"},
		{name: "key", value: source{&t.Key.ref, private}, doc: "Reference to the private key."},
		{name: "password", value: source{&t.Password.ref, private}, doc: "Reference to the password."},
		{name: "host_keys", value: hostKeys{&t.HostKeys}, doc: "Pins of the server's host keys. \"allclear backup trust\" stores one too."},
		{name: "policy", value: anyText(&t.Policy, "the name of a policy", checkWord), doc: "The algorithm policy of every connection to it."},
		{name: "next_policy", value: anyText(&t.Planned, "the name of a policy", checkWord), doc: "A tighter policy to come: a warning while the server would not meet it."},
		{name: "protocol", value: word(&t.Protocol, ProtocolSFTP, ProtocolSCP, ProtocolAny), doc: "How files travel. any: SFTP, and SCP where the server has no SFTP, which the run says."},
		{name: "transport", value: word(&t.Transport, TransportGo, TransportOpenSSH), doc: "Whose SSH: the program's own, or the ssh command of this host (keys only)."},
		{name: "path", required: true, value: anyText(&t.Path, "a folder at the target such as /srv/backup", checkRemote), doc: "the folder there that takes the copies"},
		interval(&t.Interval), timeout(&t.Timeout),
		{name: "stall", value: span(&t.Stall, time.Second, time.Hour), doc: "A transfer without any progress for so long has failed."},
	}
}

func (t *Target) check(d *decoder, path string) {
	key, password := d.written(path, "key"), d.written(path, "password")
	switch {
	case key && password:
		d.wrong.Add(path+".password", "a target has a key or a password, not both", "remove one")
	case !key && !password:
		d.wrong.Add(path, "the target has neither key nor password", "add key: file:PATH or password: file:PATH")
	case password && t.Transport == TransportOpenSSH:
		d.wrong.Add(path+".transport", "the ssh command takes keys only here", "use key:, or transport: go")
	}
	if t.HostKeys.TrustFirst {
		d.wrong.Add(path+".host_keys", "what is backed up is sent to no server that nobody has confirmed", `add its pins, or leave it out and run "allclear backup trust"`)
	}
	if t.Transport == TransportOpenSSH && t.Protocol != ProtocolSFTP {
		d.together(path, []string{"transport", "protocol"}, "the ssh command carries SFTP only here", "protocol: sftp, or transport: go")
	}
}

func (j *Job) keys() []key {
	return []key{
		name(&j.Name),
		{name: "kind", required: true, value: word(&j.Kind, KindRepository, KindArchive), doc: "repository: incremental, in restic's format; archive: one encrypted file a run"},
		{
			name: "sources", doc: "Files and folders to back up, absolute.",
			value: texts{&j.Sources, func(s *string) value { return anyText(s, "an absolute path", checkAbsolute) }},
		},
		{
			name: "exclude", doc: "Patterns of what is left out, such as *.swp, /var/cache or **/tmp.",
			value: texts{&j.Exclude, func(s *string) value { return anyText(s, "a pattern such as *.swp", checkFilled) }},
		},
		{name: "one_file_system", value: yes{&j.OneFileSystem}, doc: "Does not cross into other file systems."},
		{name: "profile", value: word(&j.Profile, ProfileFull, ProfileConfig), doc: "full: everything; config: configuration files only."},
		{
			name: "command", doc: "A program with its arguments, never a shell, whose output is the archive's one file.",
			value: texts{&j.Command, func(s *string) value { return anyText(s, "a word of the command", nil) }},
		},
		{name: "run_as", value: anyText(&j.RunAs, "a user name", checkUser), doc: "The user who runs the command; needed when the agent is root."},
		{name: "store_as", value: anyText(&j.StoreAs, "a file name", CheckName), doc: "The name of the command's output in the archive. The job's, when left out."},
		{name: "target", required: true, value: anyText(&j.Target, "the name of a target", checkWord), doc: "the target that keeps the copies"},
		{name: "schedule", value: anyText(&j.Schedule, `a schedule such as "0 2 * * *" or @daily`, checkFilled), doc: "When it runs, in local time. On demand only, when left out."},
		{name: "jitter", value: span(&j.Jitter, 0, day), doc: "Starts up to so much later: as much each time, and differently for each job and host."},
		{name: "window", value: anyText(&j.Window, "a time of day such as 22:00-06:00", checkFilled), doc: "Scheduled runs begin inside only."},
		{name: "disabled", value: anyText(&j.Disabled, "a sentence", checkFilled), doc: "Why the schedule is not followed for now. Copies still grow overdue."},
		{name: "tries", value: integer(&j.Tries, 1, 10), doc: "How often a run is tried; a refused login at most 3 times."},
		{name: "keep", value: nested{&j.Keep}, doc: "Which copies are kept. Every one, when left out."},
		{name: "overdue", value: span(&j.Overdue, time.Minute, 365*day), doc: "Age of the last verified copy that is a fault. Twice the schedule's longest gap, when left out."},
		{name: "timeout", value: span(&j.Timeout, time.Minute, 30*day), doc: "The longest that a run may take. As long as it makes progress, when left out."},
		{name: "read_back", value: integer(&j.ReadBack, 1, 100), doc: "Percent of the data that is read back and compared after each run."},
		{name: "full_read", value: span(&j.FullRead, day, 365*day), doc: "Time in which all of the data is read back, in turns."},
		{name: "drill", value: span(&j.Drill, time.Hour, 365*day), doc: "Between two restore drills of random files."},
	}
}

func (j *Job) check(d *decoder, path string) {
	sources, command := len(j.Sources) > 0, len(j.Command) > 0
	switch {
	case sources && command:
		d.together(path, []string{"sources", "command"}, "a job backs up sources or the output of a command, not both", "make two jobs of it")
	case !sources && !command:
		if !d.wrong.Has(path + ".sources") {
			d.wrong.Add(path, "the job has nothing to back up", "add sources: [/etc]")
		}
	case command && j.Kind == KindRepository:
		d.together(path, []string{"kind", "command"}, "the output of a command goes into an archive", "kind: archive")
	case command && j.Profile == ProfileConfig:
		d.together(path, []string{"profile", "command"}, "the output of a command has no profile", "remove profile")
	}
	for key, set := range map[string]bool{"run_as": j.RunAs != "", "store_as": j.StoreAs != ""} {
		if set && !command {
			d.wrong.Add(path+"."+key, "there is no command to run", "remove it, or add command:")
		}
	}
}

func (k *Keep) keys() []key {
	count := func(name string, p *int, what string) key {
		return key{name: name, value: integer(p, 0, 100_000), doc: what}
	}
	return []key{
		count("last", &k.Last, "The newest ones."), count("hourly", &k.Hourly, "The newest of each of so many hours."),
		count("daily", &k.Daily, "The newest of each of so many days."), count("weekly", &k.Weekly, "The newest of each of so many weeks."),
		count("monthly", &k.Monthly, "The newest of each of so many months."), count("yearly", &k.Yearly, "The newest of each of so many years."),
		{name: "within", value: span(&k.Within, time.Hour, 3650*day), doc: "Every one that is not older than this."},
	}
}

func checkAbsolute(s string) error {
	if !strings.HasPrefix(s, "/") {
		return errors.New("a source is an absolute path")
	}
	return nil
}

// checkRemote refuses what would leave the folder of an account, or be an
// option of a program there.
func checkRemote(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return ErrEmpty
	case s[0] == '-':
		return errors.New("this begins with a dash")
	case slices.Contains(strings.Split(s, "/"), ".."):
		return fmt.Errorf("%q leads out of the folder", printable(s))
	}
	return nil
}

package app

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"allclear/internal/config"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/watch"
)

// checkBackup checks the meaning of targets and jobs.
func (p *plan) checkBackup(m *config.Mistakes) {
	watched := map[string]config.SSH{}
	for _, item := range p.Watch.SSH {
		watched[item.Name] = item
	}
	targets := map[string]bool{}
	for i, t := range p.Backup.Targets {
		targets[t.Name] = true
		path := fmt.Sprintf("backup.targets[%d]", i)
		p.checkTarget(m, path, t)
		if item, both := watched[t.Name]; both && (item.Address != t.Address || item.Policy != t.Policy) {
			m.Add(path+".name", fmt.Sprintf("watch.ssh has a %q with another address or policy", t.Name), "one check serves both: make them agree, or choose another name")
		}
	}
	for i, j := range p.Backup.Jobs {
		path := fmt.Sprintf("backup.jobs[%d]", i)
		if !targets[j.Target] && !m.Has(path+".target") {
			m.Add(path+".target", fmt.Sprintf("no target is called %q", j.Target), "backup.targets lists them")
		}
		p.checkJob(m, path, j)
	}
}

func (p *plan) checkTarget(m *config.Mistakes, path string, t config.Target) {
	for key, name := range map[string]string{"policy": t.Policy, "next_policy": t.Planned} {
		at := path + "." + key
		policy, known := p.policies[name]
		switch {
		case name == "" || m.Has(at):
		case !known:
			m.Add(at, unknownPolicy(name), p.policyHint())
		case key == "policy":
			if _, err := policy.For(sshpolicy.Transport(t.Transport)); err != nil {
				m.Add(at, fmt.Sprintf("transport %s cannot meet it: %v", t.Transport, err), `"allclear backup policy show" says who can do what`)
			}
		}
	}
	for j, text := range t.HostKeys.Pins {
		if _, err := sshpolicy.ParsePin(text); err != nil {
			m.Add(fmt.Sprintf("%s.host_keys[%d]", path, j), err.Error(), `a pin is "SHA256:...", "ssh-ed25519 SHA256:..." or a known_hosts key`)
		}
	}
}

func (p *plan) checkJob(m *config.Mistakes, path string, j config.Job) {
	if _, err := schedule(j.Schedule); err != nil && !m.Has(path+".schedule") {
		m.Add(path+".schedule", err.Error(), `"0 2 * * *" is every day at two; @hourly and "@every 90m" work too`)
	}
	if j.Window != "" {
		if _, err := backup.ParseWindow(j.Window); err != nil && !m.Has(path+".window") {
			m.Add(path+".window", err.Error(), "such as 22:00-06:00")
		}
	}
	if len(j.Command) > 0 {
		if err := command(j).Check(); err != nil {
			m.Add(path+".command", err.Error(), "")
		}
		return
	}
	if _, err := source.New(source.Options{Roots: j.Sources, Exclude: j.Exclude}); err != nil && !m.Has(path+".sources") && !m.Has(path+".exclude") {
		m.Add(path, err.Error(), "")
	}
}

func schedule(text string) (backup.Schedule, error) {
	if text == "" {
		return backup.Schedule{}, nil
	}
	return backup.ParseSchedule(text, time.Local)
}

func command(j config.Job) *source.Command {
	return &source.Command{Argv: j.Command, RunAs: j.RunAs}
}

// backupOptions maps the configuration to what package backup does. Everything
// in it was checked.
func (p *plan) backupOptions(dir string, keys backup.KeyWrapper, endpoints backup.Endpoints, known *sshpolicy.Store, guards *sshpolicy.Guards, log *slog.Logger) (backup.Options, error) {
	o := backup.Options{Dir: dir, Node: p.node(), Keys: keys, Endpoints: endpoints, KnownHosts: known, Guards: guards, Log: log}
	groups := map[string]bool{config.MainGroup: true} // where commands define servers
	o.KeyCauses = []fault.Key{{Code: keyserver.CodeAllLost, Resource: config.MainGroup}}
	for _, s := range p.KeyServers {
		if !groups[s.Group] {
			groups[s.Group] = true
			o.KeyCauses = append(o.KeyCauses, fault.Key{Code: keyserver.CodeAllLost, Resource: s.Group})
		}
	}
	for _, t := range p.Backup.Targets {
		target, err := p.backupTarget(t)
		if err != nil {
			return o, err
		}
		o.Targets = append(o.Targets, target)
	}
	for _, j := range p.Backup.Jobs {
		job, err := backupJob(j)
		if err != nil {
			return o, err
		}
		o.Jobs = append(o.Jobs, job)
	}
	return o, nil
}

func (p *plan) backupTarget(t config.Target) (backup.Target, error) {
	pins, err := parsePins(t.HostKeys.Pins)
	target := backup.Target{
		Name: t.Name, Address: t.Address, User: t.User, Policy: p.policies[t.Policy], Planned: p.policies[t.Planned],
		Transport: sshpolicy.Transport(t.Transport), Pins: pins, Login: sshLogin(targetLogin(t)),
		Protocol: sshpolicy.Protocol(t.Protocol), Path: t.Path, Timeout: t.Timeout, Stall: t.Stall,
		Version: strings.Join([]string{t.Key.Where(), t.Password.Where(), fmt.Sprint(p.DNS)}, " "), Dial: p.dialer(),
	}
	if t.Key.Set() {
		target.KeyPEM = t.Key.Read
	}
	for _, own := range p.Policies {
		if own.Name == t.Policy && !own.Until.IsZero() {
			target.Insecure = append(target.Insecure, backup.Setting{Name: "policy", Value: own.Name, Why: own.Reason, Until: own.Until})
		}
	}
	return target, err
}

// targetLogin is the login of a target in the shape of a watched server's.
func targetLogin(t config.Target) *config.Login {
	return &config.Login{User: t.User, Key: t.Key, Password: t.Password}
}

func backupJob(j config.Job) (backup.Job, error) {
	when, err := schedule(j.Schedule)
	if err != nil {
		return backup.Job{}, err
	}
	job := backup.Job{
		Name: j.Name, Kind: backup.Kind(j.Kind), Target: j.Target, Sources: j.Sources, Exclude: j.Exclude,
		OneFileSystem: j.OneFileSystem, StoreAs: j.StoreAs, Profile: j.Profile, Schedule: when,
		Jitter: j.Jitter, Disabled: j.Disabled, Timeout: j.Timeout, Keep: backup.Keep(j.Keep), Overdue: j.Overdue,
		Proof: backup.Proof{ReadPercent: float64(j.ReadBack), FullRead: j.FullRead, Drill: j.Drill}, Tries: j.Tries,
	}
	if j.Window != "" {
		if job.Window, err = backup.ParseWindow(j.Window); err != nil {
			return job, err
		}
	}
	if len(j.Command) > 0 {
		job.Command = command(j)
		if j.RunAs == "root" && os.Geteuid() == 0 {
			job.Insecure = append(job.Insecure, backup.Setting{Name: "run_as", Value: "root", Why: "the configuration asks for it"})
		}
	}
	return job, nil
}

func parsePins(texts []string) ([]sshpolicy.Pin, error) {
	var pins []sshpolicy.Pin
	for _, text := range texts {
		pin, err := sshpolicy.ParsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// watchTargets adds the backup targets to the watched servers: whatever a job
// uses is watched, once.
func (p *plan) watchTargets(o *watch.Options) error {
	listed := map[string]bool{}
	for _, item := range p.Watch.SSH {
		listed[item.Name] = true
	}
	for _, t := range p.Backup.Targets {
		if listed[t.Name] {
			continue
		}
		pins, err := parsePins(t.HostKeys.Pins)
		if err != nil {
			return err
		}
		login := targetLogin(t)
		o.SSH = append(o.SSH, watch.SSH{
			Name: t.Name, Address: t.Address, Policy: p.policies[t.Policy], Every: t.Interval, Timeout: t.Timeout, Pins: pins,
			Login: sshLogin(login), Version: sshVersion(config.SSH{Login: login}, p.DNS), Dial: p.dialer(),
		})
	}
	return nil
}

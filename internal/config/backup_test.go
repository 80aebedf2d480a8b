package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"allclear/internal/config"
)

func TestBackupIsReadWithItsDefaults(t *testing.T) {
	c, _ := good(t, `
backup:
  targets:
    - {name: nas1, address: "127.0.0.1:2222", user: backup, key: "file:k", host_keys: ["ssh-ed25519 SHA256:x"], policy: ucsm-4.0-2a, path: /srv/backup}
  jobs:
    - {name: etc, kind: repository, sources: [/etc], exclude: ["*.swp"], target: nas1, schedule: "0 2 * * *", keep: {daily: 7, weekly: 4}, overdue: 26h}
    - {name: db, kind: archive, command: [pg_dump, db], run_as: postgres, target: nas1}
`, map[string]string{"k": "x"})
	target, etc, db := c.Backup.Targets[0], c.Backup.Jobs[0], c.Backup.Jobs[1]
	if target.Protocol != config.ProtocolSFTP || target.Transport != config.TransportGo || target.Stall != time.Minute || !target.Key.Set() {
		t.Errorf("target is %+v", target)
	}
	if etc.Keep != (config.Keep{Daily: 7, Weekly: 4}) || etc.Overdue != 26*time.Hour || etc.ReadBack != 2 || etc.Drill != 7*24*time.Hour || etc.Profile != config.ProfileFull {
		t.Errorf("job is %+v", etc)
	}
	if strings.Join(db.Command, " ") != "pg_dump db" || db.RunAs != "postgres" || db.Schedule != "" {
		t.Errorf("job is %+v", db)
	}
}

func TestMistakesOfBackupAndKeyServersAreNamed(t *testing.T) {
	const target = "name: t, address: h, user: u, path: p"
	const server = "name: k, client_cert: 'file:k', client_key: 'file:k'"
	for _, c := range []struct{ text, want string }{
		{"backup: {targets: [{" + target + "}]}", "the target has neither key nor password"},
		{"backup: {targets: [{" + target + ", key: 'file:k', password: 'file:k'}]}", "a target has a key or a password, not both"},
		{"backup: {targets: [{" + target + ", key: 'file:k', host_keys: trust-first}]}", "sent to no server that nobody has confirmed"},
		{"backup: {targets: [{" + target + ", password: 'file:k', transport: openssh}]}", "the ssh command takes keys only here"},
		{"backup: {targets: [{" + target + ", key: 'file:k', transport: openssh, protocol: scp}]}", "the ssh command carries SFTP only here"},
		{"backup: {targets: [{name: t, address: h, user: u, key: 'file:k', path: a/../b}]}", `"a/../b" leads out of the folder`},
		{"backup: {targets: [{name: t, address: h, user: -u, key: 'file:k', path: /a}]}", "this begins with a dash"},
		{"backup: {jobs: [{name: j, kind: archive, target: t}]}", "the job has nothing to back up"},
		{"backup: {jobs: [{name: j, kind: tape, sources: [/a], target: t}]}", `"tape" is not known here`},
		{"backup: {jobs: [{name: j, kind: archive, sources: [a], target: t}]}", "a source is an absolute path"},
		{"backup: {jobs: [{name: j, kind: archive, sources: [/a], command: [b], target: t}]}", "not both"},
		{"backup: {jobs: [{name: j, kind: repository, command: [b], target: t}]}", "goes into an archive"},
		{"backup: {jobs: [{name: j, kind: archive, sources: [/a], run_as: u, target: t}]}", "there is no command to run"},
		{"keyservers: [{" + server + ", address: 10.0.0.1}]", `"10.0.0.1" has no port`},
		{"keyservers: [{" + server + ", address: '2001:db8::1'}]", `"2001:db8::1" has no port`},
		{"keyservers: [{" + server + ", address: '[::1]:99999'}]", `"99999" is not a port`},
		{"keyservers: [{" + server + ", address: 'h:1', primary: maybe}]", `"maybe" is neither true nor false`},
		{"keyservers: [{" + server + ", address: 'h:1', pin: 'SHA256:short'}]", `"SHA256:short" is not a pin`},
		{"keyservers: [{" + server + ", address: 'h:1', ca: 'secret:ca'}]", "what is public is kept in no secret"},
		{"keyservers: [{" + server + ", address: 'h:1'}, {" + server + ", address: 'h:2'}]", `the name "k" is taken`},
		{"keyservers: [{name: k, address: 'h:1', client_cert: 'file:k', client_key: 'secret:k'}]", "cannot be what opens the key servers"},
		{"keyserver_groups: [{name: g, legacy_tls: true}]", "legacy_tls, reason and until go together"},
		{"keyserver_groups: [{name: g, until: 2099-12-31}]", "legacy_tls, reason and until go together"},
		{"keyserver_groups: [{name: g, interval: 1m}]", "exception_interval must not be longer than interval"},
	} {
		got := mistakes(t, c.text, map[string]string{"k": "x"})
		if len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s\n got %q\nwant %s", c.text, got, c.want)
		}
	}
}

func TestASecretOfTheAgentIsOpenedWhenItIsUsed(t *testing.T) {
	c, _ := good(t, `watch: {ssh: [{name: a, address: h, login: {user: u, password: "secret:nas"}}]}`, nil)
	password := c.Watch.SSH[0].Login.Password
	if _, err := password.Text(); err == nil || !strings.Contains(err.Error(), "only a running agent") {
		t.Errorf("without an agent: %v", err)
	}
	lost := errors.New("no key server answers")
	c.OpenSecrets(func(name string) ([]byte, error) { return nil, lost })
	if _, err := password.Text(); !errors.Is(err, lost) || !strings.Contains(err.Error(), "secret:nas") {
		t.Errorf("with its keys lost: %v", err)
	}
	c.OpenSecrets(func(name string) ([]byte, error) { return []byte("of " + name + "\n"), nil })
	if text, err := password.Text(); err != nil || text != "of nas" {
		t.Errorf("it opens to %q, %v", text, err)
	}
}

func TestReferencesFromACommandAreReadAlike(t *testing.T) {
	s, err := config.ParseSecret("file:k", "/etc/allclear")
	if err != nil || s.Where() != "file:k" || !s.Set() {
		t.Errorf("%v, %v", s.Where(), err)
	}
	if r, err := config.ParseRef("env:CA", ""); err != nil || r.Where() != "env:CA" {
		t.Errorf("%v, %v", r.Where(), err)
	}
	for _, text := range []string{"hunter2", "secret:x", "file:", "cred:../x"} {
		if _, err := config.ParseSecret(text, "/"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

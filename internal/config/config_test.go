package config_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"allclear/internal/config"
)

// folder makes a directory with the given files, all of mode 0600.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// good loads text, which must have no mistake, from a directory that holds files.
func good(t *testing.T, text string, files map[string]string) (*config.Config, string) {
	t.Helper()
	dir := folder(t, files)
	c, wrong := config.Parse(filepath.Join(dir, "allclear.yaml"), []byte(text))
	if err := wrong.Err(); err != nil {
		t.Fatalf("mistakes in a good file:\n%v", err)
	}
	return c, dir
}

const issueExample = `
# allclear.yaml
node: web1
listen: 127.0.0.1:9191
watch:
  ssh:
    - {name: nas1, address: "127.0.0.1:2222", policy: ucsm-4.0-2a, interval: 5m, host_keys: ["ssh-ed25519 SHA256:abc"], login: {user: backup, key: "file:id"}}   # login optional
  tls:
    - {name: hub, address: "127.0.0.1:8443", server_name: hub.example, ca: "file:ca.pem", client_cert: "file:c.pem", client_key: "file:c.key", http: {method: GET, path: /healthz, expect_status: 200}, proxy: ""}
  certificates:
    - {name: web, path: cert.pem, key: key.pem, warning: 30d, major: 7d}
`

func TestAWholeFileIsReadWithDefaultsForTheRest(t *testing.T) {
	files := map[string]string{"id": "k", "ca.pem": "ca", "c.pem": "c", "c.key": "ck"}
	c, dir := good(t, issueExample, files)
	want := config.Default()
	want.Node = "web1"
	want.Watch = config.Watch{
		SSH: []config.SSH{{
			Name: "nas1", Address: "127.0.0.1:2222", Policy: "ucsm-4.0-2a", Interval: 5 * time.Minute, Timeout: 15 * time.Second,
			HostKeys: config.HostKeys{Pins: []string{"ssh-ed25519 SHA256:abc"}}, Login: &config.Login{User: "backup"},
		}},
		TLS: []config.TLS{{
			Name: "hub", Address: "127.0.0.1:8443", ServerName: "hub.example", MinTLS: "1.2", Interval: time.Minute, Timeout: 15 * time.Second,
			HTTP: &config.HTTP{Method: "GET", Path: "/healthz", ExpectStatus: 200},
		}},
		Certificates: []config.Certificate{{
			Name: "web", Path: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
			Warning: 30 * 24 * time.Hour, Major: 7 * 24 * time.Hour, Interval: time.Hour,
		}},
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.IgnoreTypes(config.Secret{}, config.Ref{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	for where, got := range map[string]string{
		"file:id": c.Watch.SSH[0].Login.Key.Where(), "file:ca.pem": c.Watch.TLS[0].CA.Where(),
		"file:c.pem": c.Watch.TLS[0].ClientCert.Where(), "file:c.key": c.Watch.TLS[0].ClientKey.Where(), "": c.Watch.SSH[0].Login.Password.Where(),
	} {
		if got != where {
			t.Errorf("reference %q, want %q", got, where)
		}
	}
}

func TestAFileWithNothingInItIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "{}", "watch:\n", "watch:\n  ssh:\n  tls: []\nhost:\n  disk:\n"} {
		c, _ := good(t, text, nil)
		if diff := cmp.Diff(config.Default(), c, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateComparable(config.Secret{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-default +got):\n%s", text, diff)
		}
	}
}

func TestEveryScalarKeyIsRead(t *testing.T) {
	c, dir := good(t, `
listen: ""
state: {dir: st, history: 1d, history_faults: 500, ballast: 0B}
limits: {active_faults: 200000, sense: 8KiB, text: 2KiB}
api: {group_role: operator}
log: {level: debug}
checks: {parallel: 4}
remedies: [system/disk-low]
dns: {resolvers: [127.0.0.1, "[::1]:5353", "::1"]}
host:
  disk: {interval: 10s, warning: 2MiB, major: 1MiB}
  clock: {interval: 1m30s, step: 500ms}
  memory: {interval: 2m, need: 1GiB}
policies:
  - {name: old, base: openssh-9, kex: [a, b], host_key: [], cipher: [c], mac: [m], reason: it is old, until: 2027-01-31}
`, nil)
	want := config.Default()
	want.Listen = ""
	want.State = config.State{Dir: filepath.Join(dir, "st"), History: 24 * time.Hour, HistoryFaults: 500}
	want.Limits = config.Limits{ActiveFaults: 200_000, Sense: 8192, Text: 2048}
	want.API.GroupRole = config.RoleOperator
	want.Log.Level = slog.LevelDebug
	want.Checks.Parallel = 4
	want.Remedies = []string{"system/disk-low"}
	want.DNS.Resolvers = []string{"127.0.0.1:53", "[::1]:5353", "[::1]:53"}
	want.Host = config.Host{
		Disk:   config.Disk{Interval: 10 * time.Second, Warning: 2 << 20, Major: 1 << 20},
		Clock:  config.Clock{Interval: 90 * time.Second, Step: 500 * time.Millisecond},
		Memory: config.Memory{Interval: 2 * time.Minute, Need: 1 << 30},
	}
	want.Policies = []config.Policy{{
		Name: "old", Base: "openssh-9", Kex: []string{"a", "b"}, HostKey: []string{}, Cipher: []string{"c"}, MAC: []string{"m"},
		Reason: "it is old", Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateComparable(config.Secret{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestAddressesGetTheirPort(t *testing.T) {
	for text, want := range map[string]string{
		"nas": "nas:22", "nas:2222": "nas:2222", "10.0.0.1": "10.0.0.1:22", "'::1'": "[::1]:22", "'[::1]'": "[::1]:22", "'[fe80::1%eth0]:99'": "[fe80::1%eth0]:99",
	} {
		c, _ := good(t, "watch: {ssh: [{name: a, address: "+text+"}]}", nil)
		if got := c.Watch.SSH[0].Address; got != want {
			t.Errorf("address %s = %q, want %q", text, got, want)
		}
	}
}

func TestTrustFirstIsAWordInsteadOfTheList(t *testing.T) {
	c, _ := good(t, "watch: {ssh: [{name: a, address: a, host_keys: trust-first}, {name: b, address: b}]}", nil)
	want := []config.HostKeys{{TrustFirst: true}, {}}
	if diff := cmp.Diff(want, []config.HostKeys{c.Watch.SSH[0].HostKeys, c.Watch.SSH[1].HostKeys}); diff != "" {
		t.Errorf("host keys (-want +got):\n%s", diff)
	}
}

func TestAnAliasIsItsValue(t *testing.T) {
	c, _ := good(t, "watch:\n  ssh:\n    - {name: a, address: a, host_keys: &k [one, two], interval: &i 30s}\n    - {name: b, address: b, host_keys: *k, interval: *i}\n", nil)
	if diff := cmp.Diff(c.Watch.SSH[0].HostKeys, c.Watch.SSH[1].HostKeys); diff != "" {
		t.Errorf("host keys through an alias (-first +second):\n%s", diff)
	}
	if got := c.Watch.SSH[1].Interval; got != 30*time.Second {
		t.Errorf("interval through an alias = %v, want 30s", got)
	}
}

func TestPosPointsAtTheValue(t *testing.T) {
	c, _ := good(t, "node: n\nwatch:\n  ssh:\n    - name: a\n      address: x\n    - {name: b, address: y, policy: modern}\n", nil)
	for path, want := range map[string][2]int{
		"node":                {1, 7},
		"watch.ssh[0].name":   {4, 13},
		"watch.ssh[1].policy": {6, 37},
		"watch.ssh[0].policy": {4, 7}, // not written: the item
		"watch.ssh[1]":        {6, 7},
		"log.level":           {1, 1}, // not written: the file
	} {
		line, column := c.Pos(path)
		if got := [2]int{line, column}; got != want {
			t.Errorf("Pos(%q) = %v, want %v", path, got, want)
		}
	}
	if line, column := config.Default().Pos("node"); line != 0 || column != 0 {
		t.Errorf("Pos without a file = %d, %d; want 0, 0", line, column)
	}
}

func TestTheExampleIsFreeOfMistakesAndShowsTheDefaults(t *testing.T) {
	c, _ := good(t, string(config.Example()), nil)
	c.Watch = config.Watch{}
	if diff := cmp.Diff(config.Default(), c, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateComparable(config.Secret{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what the example says beside watch is not the default (-default +example):\n%s", diff)
	}
}

func TestTheExampleIsFreeOfMistakesWithAllSwitchedOn(t *testing.T) {
	var on []string
	inside := false // a line that was switched on stands right above
	for line := range strings.Lines(string(config.Example())) {
		indent, rest, ok := strings.Cut(line, "#")
		inside = ok && strings.TrimSpace(indent) == "" && (!strings.HasPrefix(rest, " ") || inside && strings.HasPrefix(rest, "  ")) && rest != "\n"
		if inside {
			line = indent + rest
		}
		on = append(on, line)
	}
	text := strings.Join(on, "")
	files := map[string]string{}
	for _, name := range []string{"id_ed25519", "nas1.password", "ca.pem", "client.pem", "client.key", "proxy.password", "metrics.token", "hook.secret", "hook.secret.old", "mail.password", "community"} {
		files[name] = "x"
	}
	files["slack.url"] = "https://hooks.slack.example/services/T/B/X\n"
	c, _ := good(t, text, files)
	if c.Node == "" || len(c.Notify) != 7 || len(c.Policies) != 1 || len(c.Watch.SSH) != 2 || len(c.Watch.TLS) != 1 || len(c.Watch.Certificates) != 1 ||
		len(c.Backup.Targets) != 1 || len(c.Backup.Jobs) != 3 || len(c.KeyServerGroups) != 1 || len(c.KeyServers) != 2 {
		t.Errorf("not all of the example was switched on:\n%s", text)
	}
}

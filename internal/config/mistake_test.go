package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/config"
)

// mistakes parses text and renders what is wrong, without the name of the directory.
func mistakes(t *testing.T, text string, files map[string]string) []string {
	t.Helper()
	dir := folder(t, files)
	_, wrong := config.Parse(filepath.Join(dir, "c.yaml"), []byte(text))
	if wrong.Err() == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(wrong.Error(), dir+"/", ""), "\n")
}

func TestAllMistakesAreReportedAtOnceInTheOrderOfTheFile(t *testing.T) {
	got := mistakes(t, `node: "a b"
listn: 127.0.0.1:9191
listen: 0.0.0.0:9191
log: {level: loud}
watch:
  ssh:
    - address: "nas1:70000"
      interval: 5
      policy: modern
      policy: openssh-9
      login: {user: backup, key: "file:gone", password: hunter2}
      host_keys: yes
    - {name: a, address: x}
    - {name: a, address: y}
  tls:
    - {name: t, address: t, http: {expect_status: 2000}, client_cert: "file:c.pem"}
  certificates:
    - {name: w, path: [a], warning: 1d}
host:
  disk: {major: 3GiB}
`, map[string]string{"c.pem": "x"})
	want := []string{
		`c.yaml:1:7: node: "a b" is not a name; wanted is a name of letters, digits, dots and dashes`,
		`c.yaml:2:1: listn: there is no such key here; did you mean "listen"?`,
		`c.yaml:3:9: listen: "0.0.0.0" is not a loopback address: only programs of this host may read the figures; wanted is a loopback address and a port, such as 127.0.0.1:9191, or "" for none`,
		`c.yaml:4:14: log.level: "loud" is not known here; wanted is one of debug, info, warn, error`,
		`c.yaml:7:7: watch.ssh[0].name: this key is missing; what faults and commands call it`,
		`c.yaml:7:16: watch.ssh[0].address: "70000" is not a port from 1 to 65535; wanted is host or host:port, an IPv6 address in brackets`,
		`c.yaml:8:17: watch.ssh[0].interval: "5" is not a time span; wanted is a time span from 10s to 7d, such as 90s, 5m, 26h or 30d`,
		`c.yaml:10:7: watch.ssh[0].policy: this key is written twice; it stands in line 9 already; keep one`,
		`c.yaml:11:34: watch.ssh[0].login.key: there is no file gone`,
		`c.yaml:11:57: watch.ssh[0].login.password: this is no reference; wanted is file:PATH, env:NAME, cred:NAME or secret:NAME; a secret itself is never written into this file`,
		`c.yaml:11:57: watch.ssh[0].login.password: a login has a key or a password, not both; remove one`,
		`c.yaml:12:18: watch.ssh[0].host_keys: wanted is a list of pins or the word trust-first; a pin is such as "ssh-ed25519 SHA256:..."`,
		`c.yaml:14:14: watch.ssh[2].name: the name "a" is taken; watch.ssh[1] has it in line 13`,
		`c.yaml:16:51: watch.tls[0].http.expect_status: 2000 is out of bounds; wanted is a whole number from 100 to 599`,
		`c.yaml:16:71: watch.tls[0].client_cert: client_cert and client_key go together; add the other one`,
		`c.yaml:18:23: watch.certificates[0].path: wanted is the path of a file, this is a list`,
		`c.yaml:18:37: watch.certificates[0].warning: major must be shorter than warning; they are 7d and 1d`,
		`c.yaml:20:17: host.disk.major: major must be smaller than warning; they are 3GiB and 2GiB`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
	if strings.Contains(strings.Join(got, "\n"), "hunter2") {
		t.Error("the mistake repeats a password that was written where its reference belongs")
	}
}

func TestEachKindOfMistakeIsSaidInPlainWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"- a", "c.yaml:1:1: wanted is keys with values, this is a list"},
		{"word", "c.yaml:1:1: wanted is keys with values, this is a single value"},
		{"node:", "c.yaml:1:6: node: there is no value; wanted is a name of letters, digits, dots and dashes"},
		{"node: {a: b}", "c.yaml:1:7: node: wanted is a name of letters, digits, dots and dashes, this is keys with values"},
		{"watch: []", "c.yaml:1:8: watch: wanted is keys with values, this is a list"},
		{"watch: {ssh: {name: a}}", "c.yaml:1:14: watch.ssh: wanted is a list, this is keys with values"},
		{"watch: {ssh: [a]}", "c.yaml:1:15: watch.ssh[0]: wanted is keys with values, this is a single value"},
		{"watch: {ssh: [~]}", "c.yaml:1:15: watch.ssh[0]: there is no value; wanted is keys with values"},
		{"? [a]\n: b", "c.yaml:1:3: a key is a plain word"},
		{"node: !!str a", "c.yaml:1:7: node: tags such as !!str are not read; write the plain value"},
		{"node: !include x", "c.yaml:1:7: node: tags such as !include are not read; write the plain value"},
		{"<<: {node: a}", "c.yaml:1:1: <<: there is no such key here; merge keys are not read: write the keys out, or use an alias for the whole value"},
		{"zzzzzzz: 1", "c.yaml:1:1: zzzzzzz: there is no such key here; the keys here are node, listen, state, limits, api, page, log, checks, remedies, dns, host, policies, watch, backup, keyserver_groups, keyservers, key_socket, notify"},
		{"state: {history-faults: 500}", `c.yaml:1:9: state.history-faults: there is no such key here; did you mean "history_faults"?`},
		{"watch: {tls: [{name: a, address: a, http: {expect: 200}}]}", `c.yaml:1:44: watch.tls[0].http.expect: there is no such key here; did you mean "expect_status"?`},
		{"\"a\\nb\": 1", `c.yaml:1:1: a\nb: there is no such key here; the keys here are node, listen, state, limits, api, page, log, checks, remedies, dns, host, policies, watch, backup, keyserver_groups, keyservers, key_socket, notify`},
		{"node: \"a\\nb\"", "c.yaml:1:7: node: this holds a line break or another control character; wanted is a name of letters, digits, dots and dashes"},
		{"a: [1\n", "c.yaml:2:1: the list that begins in line 1, column 4 is not closed; a comma or ] is missing"},
		{"a: {b: 1\n", "c.yaml:2:1: the braces that open in line 1, column 4 are not closed; a comma or } is missing"},
		{"a:\n\tb: 1\n", "c.yaml:2:1: a tab stands where only spaces may; indent with spaces"},
		{"a: @b\n", "c.yaml:1:4: a value cannot begin with this character; put the value in quotes"},
		{"a: b: c\n", "c.yaml:1:5: a second colon in one line; put the value in quotes, or begin a new line"},
		{"a: 'b\n", "c.yaml:2:1: the quotes that open in line 1, column 4 are not closed"},
		{"a:\n  b: 1\n c: 2\n", "c.yaml:3:2: this line does not fit the indentation of what begins in line 1, column 1; line it up"},
		{"a: *b\n", "c.yaml:1:4: this alias stands for nothing; define it with & before it is used"},
		{"node: a\n---\nnode: b\n", "c.yaml:2:1: a second document begins here, and only one is read; remove the line ---"},
		{"node: a\nx: \xff\n", "c.yaml:2:4: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"node: \x1b[31m\n", "c.yaml:1:7: control character 0x1b; remove it"},
		{"\xff\xfen\x00", "c.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8\nc.yaml:1:2: byte 0xfe is not UTF-8; save the file as UTF-8\nc.yaml:1:4: control character 0x00; remove it"},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), "c.yaml:1:65: this is nested deeper than 64 levels"},
		{"watch: {ssh: [{name: a, address: -oProxyCommand=x}]}", "c.yaml:1:34: watch.ssh[0].address: the host is no good: this begins with a dash; wanted is host or host:port, an IPv6 address in brackets"},
		{"watch: {ssh: [{name: a, address: 'a b'}]}", "c.yaml:1:34: watch.ssh[0].address: the host is no good: this holds a space; wanted is host or host:port, an IPv6 address in brackets"},
		{"watch: {ssh: [{name: a, address: 'http://a/'}]}", `c.yaml:1:34: watch.ssh[0].address: "//a/" is not a port from 1 to 65535; wanted is host or host:port, an IPv6 address in brackets`},
		{"watch: {ssh: [{name: a, address: 'x::y'}]}", `c.yaml:1:34: watch.ssh[0].address: "x::y" is not an address; wanted is host or host:port, an IPv6 address in brackets`},
		{"watch: {ssh: [{name: a, address: a, login: {user: -x}}]}", "c.yaml:1:44: watch.ssh[0].login: the login has neither key nor password; add key: file:PATH or password: file:PATH\nc.yaml:1:51: watch.ssh[0].login.user: this begins with a dash; wanted is a user name"},
		{"watch: {ssh: [{name: a, address: a, interval: 1s}]}", "c.yaml:1:47: watch.ssh[0].interval: 1s is out of bounds; wanted is a time span from 10s to 7d, such as 90s, 5m, 26h or 30d"},
		{"watch: {ssh: [{name: a, address: a, host_keys: ['']}]}", `c.yaml:1:49: watch.ssh[0].host_keys[0]: it is empty; wanted is a pin such as "ssh-ed25519 SHA256:..."`},
		{"watch: {tls: [{name: a, address: a, proxy: 'http://u:hunter2@p:1'}]}", "c.yaml:1:44: watch.tls[0].proxy: credentials are never written into this file: use proxy_login; wanted is a URL such as http://proxy.example:3128"},
		{"watch: {tls: [{name: a, address: a, proxy: 'socks5://p:1'}]}", "c.yaml:1:44: watch.tls[0].proxy: a proxy is reached by http:// or https://; wanted is a URL such as http://proxy.example:3128"},
		{"watch: {tls: [{name: a, address: a, http: {path: healthz}}]}", "c.yaml:1:50: watch.tls[0].http.path: a path begins with / and holds no space; wanted is a path such as /healthz"},
		{"watch: {tls: [{name: a, address: a, http: {method: POST}}]}", `c.yaml:1:52: watch.tls[0].http.method: "POST" is not known here; wanted is one of GET, HEAD, OPTIONS`},
		{"watch: {tls: [{name: a, address: a, min_tls: 1.1}]}", `c.yaml:1:46: watch.tls[0].min_tls: "1.1" is not known here; wanted is one of 1.2, 1.3`},
		{"dns: {resolvers: [dns.example]}", `c.yaml:1:19: dns.resolvers[0]: "dns.example" is not an IP address; wanted is an IP address, or one with a port; IPv6 with a port in brackets`},
		{"policies: [{name: a, until: 31.1.2027}]", `c.yaml:1:29: policies[0].until: "31.1.2027" is not a day; wanted is a day such as 2027-01-31`},
		{"policies: [{name: a, reason: b}]", "c.yaml:1:30: policies[0].reason: reason and until go together; a weaker policy needs both"},
		{"state: {ballast: 8MB}", `c.yaml:1:18: state.ballast: "8MB" is not a size; wanted is a size from 0B to 1GiB, such as 512MiB or 2GiB`},
		{"state: {ballast: 2GiB}", `c.yaml:1:18: state.ballast: 2GiB is out of bounds; wanted is a size from 0B to 1GiB, such as 512MiB or 2GiB`},
		{"checks: {parallel: many}", `c.yaml:1:20: checks.parallel: "many" is not a whole number; wanted is a whole number from 1 to 1024`},
		{"node: " + strings.Repeat("x", 5000), "c.yaml:1:7: node: this is longer than 4096 bytes"},
	} {
		if diff := cmp.Diff(strings.Split(c.want, "\n"), mistakes(t, c.text, nil)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestAFileThatIsWrongFromEndToEndIsCutShortAndSaysSo(t *testing.T) {
	var b strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	got := mistakes(t, b.String(), nil)
	if len(got) != 1001 || got[1000] != "c.yaml: and 500 more mistakes" {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

func TestAliasesCannotBlowUpAFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("watch:\n  ssh:\n    - {name: a0, address: a, host_keys: &k [" + strings.Repeat("x,", 5000) + "]}\n")
	for i := range 500 {
		fmt.Fprintf(&b, "    - {name: b%d, address: a, host_keys: *k}\n", i)
	}
	got := mistakes(t, b.String(), nil)
	if len(got) != 1 || !strings.HasSuffix(got[0], "with its aliases the file has more than 500000 values; the rest is not read") {
		t.Errorf("mistakes: %q", got)
	}
}

func TestMeaningMistakesJoinTheOthersInTheirPlace(t *testing.T) {
	_, wrong := config.Parse("c.yaml", []byte("node: 'a b'\nwatch:\n  ssh:\n    - {name: a, address: a, policy: nope}\nx: 1\n"))
	if wrong.Has("watch.ssh[0].policy") || !wrong.Has("node") || !wrong.Has("") || wrong.Has("watch.ss") {
		t.Error("Has does not answer for exactly what is wrong")
	}
	wrong.Add("watch.ssh[0].policy", `no policy is called "nope"`, "")
	if !wrong.Has("watch") || !wrong.Has("watch.ssh[0]") || wrong.Has("watch.ssh[0].policy_x") {
		t.Error("Has does not know a mistake that was added")
	}
	var paths []string
	for _, m := range wrong.Items() {
		paths = append(paths, fmt.Sprintf("%d:%d %s", m.Line, m.Column, m.Path))
	}
	if diff := cmp.Diff([]string{"1:7 node", "4:37 watch.ssh[0].policy", "5:1 x"}, paths); diff != "" {
		t.Errorf("Items (-want +got):\n%s", diff)
	}
}

func TestAFileThatOthersCanWriteIsNotRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	for _, c := range []struct {
		mode os.FileMode
		want string
	}{
		{0o644, ""},
		{0o664, file + ": " + file + " is writable by group or others (mode 0664); run: chmod go-w " + file},
		{0o646, file + ": " + file + " is writable by group or others (mode 0646); run: chmod go-w " + file},
	} {
		if err := os.WriteFile(file, []byte("node: a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		got, wrong := config.Load(file)
		if text := errText(wrong.Err()); text != c.want {
			t.Errorf("mode %v: %q, want %q", c.mode, text, c.want)
		}
		if read := got.Node == "a"; read != (c.want == "") {
			t.Errorf("mode %v: the file was read: %v", c.mode, read)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAFileOfAnotherUserIsNotRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs: root")
	}
	dir := folder(t, map[string]string{"c.yaml": "node: a\n"})
	file := filepath.Join(dir, "c.yaml")
	if err := os.Chown(file, 12345, 0); err != nil {
		t.Fatal(err)
	}
	_, wrong := config.Load(file)
	want := file + ": " + file + " belongs to uid 12345, and only root and the agent's own user (uid 0) are trusted; run: chown root " + file
	if got := errText(wrong.Err()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWhatIsNoFileIsSaid(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 4<<20+1); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "gone"): "there is no file " + filepath.Join(dir, "gone"),
		dir:                        dir + " is not a regular file",
		pipe:                       pipe + " is not a regular file",
		huge:                       huge + " is larger than 4MiB",
	} {
		c, wrong := config.Load(file)
		if got := errText(wrong.Err()); got != file+": "+want {
			t.Errorf("got  %q\nwant %q", got, file+": "+want)
		}
		if c == nil || c.Listen == "" {
			t.Errorf("%s: no defaults", file)
		}
	}
}

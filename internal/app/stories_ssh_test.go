package app_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// sshCommands work real SSH servers in a story. A server that starts puts its
// address into the variable NAME and the pins of its host keys into NAME_TYPE
// (such as nas_ed25519) and, without the type, into NAME_TYPE_bare.
var sshCommands = map[string]command{
	"sshd": cmdSSHD, "dropbear": cmdDropbear, "labssh": cmdLabSSH, "sshkey": cmdSSHKey,
	"paste": cmdPaste, "take": cmdTake, "address": cmdAddress, "hold": cmdHold, "release": cmdRelease,
}

// sshd start|restart NAME [FILE] runs the host's sshd with the lines of FILE in
// front of its configuration; a word host=ADDRESS says where it listens.
// sshd stop|pause|resume|newkeys NAME: a paused server is there and does not
// answer; new keys are used from the next restart on.
func cmdSSHD(ts *testscript.TestScript, neg bool, args []string) {
	do, name, args := verb(ts, "sshd", args)
	if do == "start" {
		c := sshdConfig(ts, args)
		s, err := storyOf(ts).lab.SSHD(context.Background(), c)
		ts.Check(err)
		keep(ts, name, s)
		publishSSHD(ts, name, s)
		return
	}
	s := kept[*lab.SSHD](ts, name)
	switch do {
	case "restart":
		ts.Check(s.Reconfigure(context.Background(), sshdConfig(ts, args)))
		publishSSHD(ts, name, s)
	case "stop":
		ts.Check(s.Stop())
	case "pause":
		ts.Check(s.Pause())
	case "resume":
		ts.Check(s.Resume())
	case "newkeys":
		ts.Check(s.ChangeHostKeys())
	default:
		ts.Fatalf("sshd: unknown word %q", do)
	}
}

func sshdConfig(ts *testscript.TestScript, args []string) lab.SSHDConfig {
	w := wordsOf(ts, args)
	c := lab.SSHDConfig{Host: w.take("host")}
	if file := w.first(); file != "" {
		for line := range strings.Lines(os.Expand(ts.ReadFile(file), ts.Getenv)) {
			c.Extra = append(c.Extra, strings.TrimSuffix(line, "\n"))
		}
	}
	w.done()
	return c
}

func publishSSHD(ts *testscript.TestScript, name string, s *lab.SSHD) {
	publish(ts, name, s.Addr())
	for _, keyType := range []string{"ed25519", "ecdsa", "rsa"} {
		if key, err := s.HostKey(keyType); err == nil {
			publishKey(ts, name, keyType, key)
		}
	}
}

func publishKey(ts *testscript.TestScript, name, keyType string, key ssh.PublicKey) {
	print := ssh.FingerprintSHA256(key)
	ts.Setenv(name+"_"+keyType, key.Type()+" "+print)
	ts.Setenv(name+"_"+keyType+"_bare", print)
}

// dropbear start|stop NAME runs the host's dropbear.
func cmdDropbear(ts *testscript.TestScript, neg bool, args []string) {
	switch do, name, _ := verb(ts, "dropbear", args); do {
	case "start":
		d, err := storyOf(ts).lab.Dropbear(context.Background(), lab.DropbearConfig{})
		ts.Check(err)
		keep(ts, name, d)
		publish(ts, name, d.Addr())
		publishKey(ts, name, "ed25519", d.HostKeys()[0])
	case "stop":
		ts.Check(kept[*lab.Dropbear](ts, name).Stop())
	default:
		ts.Fatalf("dropbear: unknown word %q", do)
	}
}

// labssh NAME WORD... starts a server of the lab, or changes one that runs. The
// words are all that is unusual about it; without any it is well.
func cmdLabSSH(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: labssh NAME [WORD...]")
	}
	name, o := args[0], labSSHOptions(ts, args[1:])
	if s, runs := storyOf(ts).servers[name].(*lab.SSHServer); runs {
		ts.Check(s.Reconfigure(o))
		return
	}
	s, err := storyOf(ts).lab.SSH(o)
	ts.Check(err)
	keep(ts, name, s)
	publish(ts, name, s.Addr())
	publishKey(ts, name, "ed25519", s.HostKeys()[0])
}

func labSSHOptions(ts *testscript.TestScript, args []string) lab.SSHOptions {
	w := wordsOf(ts, args)
	o := lab.SSHOptions{Mode: lab.SSHMode(w.take("mode")), Version: w.take("version"), Text: w.take("text") + "\r\n"}
	kex, hostKey, cipher, mac := w.list("kex"), w.list("host_key"), w.list("cipher"), w.list("mac")
	switch o.Mode {
	case lab.SSHOffer, lab.SSHDieInKEX, lab.SSHSmallGroup:
		none := []string{"none"}
		o.Offer = sshpolicy.Lists{
			KEX: kex, HostKey: hostKey, CipherC2S: cipher, CipherS2C: cipher, MACC2S: mac, MACS2C: mac,
			CompressionC2S: none, CompressionS2C: none,
		}
	default:
		o.KEX, o.HostKeyAlgorithms, o.Ciphers, o.MACs = kex, hostKey, cipher, mac
	}
	if user, password, ok := strings.Cut(w.take("password"), ":"); ok {
		o.Passwords = map[string]string{user: password}
	}
	if file := w.take("authorized"); file != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(ts.ReadFile(file)))
		ts.Check(err)
		o.AuthorizedKeys = []ssh.PublicKey{key}
	}
	o.Expired, o.SecondFactor = w.take("expired") != "", w.take("second_factor") != ""
	w.done()
	return o
}

// sshkey FILE makes a key pair, FILE and FILE.pub.
func cmdSSHKey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sshkey FILE")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	block, err := ssh.MarshalPrivateKey(private, "story")
	ts.Check(err)
	key, err := ssh.NewPublicKey(public)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(block), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), ssh.MarshalAuthorizedKey(key), 0o644))
}

// paste CODE@RESOURCE KEYWORD... FILE does what the remedy of an active fault
// says: the one line that a step of the remedy ends with for each keyword is
// put, as it is printed, in front of FILE.
func cmdPaste(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: paste CODE@RESOURCE KEYWORD... FILE")
	}
	steps := strings.Split(value(ask(ts, args), "remedy"), "\n")
	var lines []string
	for _, keyword := range args[1 : len(args)-1] {
		line := regexp.MustCompile(`(?:^|[.:] )(` + keyword + ` \S+)$`)
		var found []string
		for _, step := range steps {
			if m := line.FindStringSubmatch(step); m != nil {
				found = append(found, m[1])
			}
		}
		if len(found) != 1 {
			ts.Fatalf("the remedy has %d lines for %s:\n%s", len(found), keyword, strings.Join(steps, "\n"))
		}
		lines = append(lines, found[0])
	}
	file := args[len(args)-1]
	text := strings.Join(lines, "\n") + "\n" + ts.ReadFile(file)
	ts.Logf("%s:\n%s", file, text)
	ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
}

// take VARIABLE CODE@RESOURCE KEY [REGEXP] puts a value of an active fault, or
// the first group of the expression in it, into a variable.
func cmdTake(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: take VARIABLE CODE@RESOURCE KEY [REGEXP]")
	}
	text := value(ask(ts, args[1:]), args[2])
	if len(args) > 3 {
		re, err := regexp.Compile(args[3])
		ts.Check(err)
		m := re.FindStringSubmatch(text)
		if len(m) != 2 {
			ts.Fatalf("no match of %q in %s:\n%s", args[3], args[2], text)
		}
		text = m[1]
	}
	ts.Setenv(args[0], text)
}

// hold NAME N opens N connections to the server at the address in the variable
// NAME and says nothing on them; release NAME ends them and waits until the
// server takes another.
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	_, name, rest := verb(ts, "hold", append([]string{"open"}, args...))
	n, err := strconv.Atoi(strings.Join(rest, " "))
	ts.Check(err)
	var held []net.Conn
	for range n {
		conn, err := greeted(ts.Getenv(name))
		ts.Check(err)
		held = append(held, conn)
		storyOf(ts).lab.OnClose(func() error { _ = conn.Close(); return nil }) // released or not
	}
	keep(ts, name+" held", held)
}

func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	for _, conn := range kept[[]net.Conn](ts, args[0]+" held") {
		ts.Check(conn.Close())
	}
	ts.Check(await(args[0]+" to take a connection", func() bool {
		conn, err := greeted(ts.Getenv(args[0]))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}))
}

// greeted is a connection on which an SSH server has begun to speak.
func greeted(addr string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	first := make([]byte, 4)
	if _, err := io.ReadFull(conn, first); err != nil || string(first) != "SSH-" {
		return nil, errors.Join(fmt.Errorf("%s began with %q", addr, first), err, conn.Close())
	}
	return conn, nil
}

// address refused|blackhole NAME finds an address at which nobody listens, or
// one whose packets are lost, and puts it into the variable NAME.
func cmdAddress(ts *testscript.TestScript, neg bool, args []string) {
	do, name, _ := verb(ts, "address", args)
	switch do {
	case "refused":
		addr, err := storyOf(ts).lab.RefusedAddr()
		ts.Check(err)
		ts.Setenv(name, addr)
	case "blackhole":
		hole, err := storyOf(ts).lab.BlackHole()
		ts.Check(err)
		ts.Setenv(name, hole.Addr())
	default:
		ts.Fatalf("address: unknown word %q", do)
	}
}

// verb takes the first two words of a command apart.
func verb(ts *testscript.TestScript, command string, args []string) (do, name string, rest []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: %s VERB NAME [WORD...]", command)
	}
	return args[0], args[1], args[2:]
}

// keep remembers what a script has started.
func keep(ts *testscript.TestScript, name string, server any) { storyOf(ts).servers[name] = server }

func kept[T any](ts *testscript.TestScript, name string) T {
	s, ok := storyOf(ts).servers[name].(T)
	if !ok {
		ts.Fatalf("%s is no %T", name, s)
	}
	return s
}

// words are the switches of a command, KEY=VALUE or KEY, each taken once.
type words struct {
	ts   *testscript.TestScript
	left map[string]string
}

func wordsOf(ts *testscript.TestScript, args []string) *words {
	w := &words{ts: ts, left: map[string]string{}}
	for _, a := range args {
		key, value, ok := strings.Cut(a, "=")
		if !ok {
			value = "yes"
		}
		w.left[key] = value
	}
	return w
}

// take answers the value of a word, "" when it is not there.
func (w *words) take(key string) string {
	v := w.left[key]
	delete(w.left, key)
	return v
}

func (w *words) list(key string) []string {
	if v := w.take(key); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// first takes the one word without a value, "" when there is none.
func (w *words) first() string {
	for key, v := range w.left {
		if v == "yes" {
			delete(w.left, key)
			return key
		}
	}
	return ""
}

// done ends the story on a word that nobody took.
func (w *words) done() {
	for key, v := range w.left {
		w.ts.Fatalf("unknown word %s", fmt.Sprintf("%s=%s", key, v))
	}
}

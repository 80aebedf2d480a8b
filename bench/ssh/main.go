// Command ssh measures our probe against ssh-audit on the same servers, in one
// run: a number of real sshd instances with differing configurations on
// loopback, both programs over all of them, in turns. It prints targets per
// second and the ratio.
//
// What is compared: ssh-audit reads the offer and then connects again for host
// keys and group sizes. "offer" is our probe up to the judgement, as a sweep
// does it; "full" completes the key exchange and proves the host key. Neither
// makes more than one connection a target.
//
// How to read the figures: an OpenSSH server spends about ten milliseconds of
// processor time on each connection (fork, exec, keys) before it says anything.
// On a small machine that is what a probe with one connection waits for, and it
// bounds the ratio to ssh-audit's threads; "-servers go" takes it away.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

func main() {
	targets := flag.Int("targets", 40, "sshd instances")
	rounds := flag.Int("rounds", 3, "rounds; the median counts")
	kind := flag.String("servers", "sshd", "sshd: the host's OpenSSH; go: servers in this process")
	policy := flag.String("policy", sshpolicy.DefaultPolicy, "policy to judge by")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *kind, *targets, *rounds, *policy); err != nil {
		fmt.Fprintln(os.Stderr, "bench/ssh:", err)
		os.Exit(1)
	}
}

// configurations differ in each category, so that judging has something to say.
func configurations() []lab.SSHDConfig {
	return []lab.SSHDConfig{
		{},
		{KexAlgorithms: []string{"diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512"}, Ciphers: []string{"aes128-ctr", "aes256-ctr"}, MACs: []string{"hmac-sha2-256"}},
		{KexAlgorithms: []string{"curve25519-sha256"}},
		{Ciphers: []string{"aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"}},
		{MACs: []string{"hmac-sha2-256-etm@openssh.com", "hmac-sha1"}},
		{HostKeyAlgorithms: []string{"ssh-ed25519"}, KeyTypes: []string{"ed25519"}},
		{KexAlgorithms: []string{"ecdh-sha2-nistp256", "curve25519-sha256"}, Ciphers: []string{"aes128-cbc", "aes128-ctr"}},
		{KexAlgorithms: []string{"sntrup761x25519-sha512@openssh.com", "curve25519-sha256"}},
	}
}

type measure struct {
	name string
	run  func(context.Context) (done int, err error)
	took []time.Duration
	done int
}

func run(ctx context.Context, kind string, n, rounds int, policyName string) error {
	if missing := lab.Missing("sshd", "ssh-audit"); len(missing) > 0 {
		return fmt.Errorf("needs: %s", strings.Join(missing, ", "))
	}
	policy, err := sshpolicy.Builtin(policyName)
	if err != nil {
		return err
	}
	l, err := lab.New(ctx, "")
	if err != nil {
		return err
	}
	defer l.Close()
	targets, file, err := start(ctx, l, kind, n)
	if err != nil {
		return err
	}
	sweep := func(offerOnly bool) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) { return probe(ctx, targets, policy, offerOnly) }
	}
	measures := []*measure{
		{name: "ssh-audit -T (32 threads)", run: func(ctx context.Context) (int, error) { return audit(ctx, "-T", file) }},
		{name: "ssh-audit, one by one", run: func(ctx context.Context) (int, error) { return auditEach(ctx, targets) }},
		{name: "allclear, offer", run: sweep(true)},
		{name: "allclear, full", run: sweep(false)},
	}
	for range rounds {
		for _, m := range measures {
			began := time.Now()
			done, err := m.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			m.took, m.done = append(m.took, time.Since(began)), done
			if done != n {
				return fmt.Errorf("%s: %d of %d targets answered", m.name, done, n)
			}
		}
	}
	report(measures, kind, n, policyName)
	return nil
}

// start runs the servers and writes the list of targets for ssh-audit.
func start(ctx context.Context, l *lab.Lab, kind string, n int) ([]sshpolicy.Target, string, error) {
	var targets []sshpolicy.Target
	var list strings.Builder
	configs := configurations()
	for i := range n {
		addr, err := startOne(ctx, l, kind, configs[i%len(configs)])
		if err != nil {
			return nil, "", err
		}
		targets = append(targets, sshpolicy.Target{Name: addr, Addr: addr})
		fmt.Fprintln(&list, addr)
	}
	file := filepath.Join(l.Dir(), "targets")
	return targets, file, os.WriteFile(file, []byte(list.String()), 0o600)
}

func startOne(ctx context.Context, l *lab.Lab, kind string, c lab.SSHDConfig) (string, error) {
	switch kind {
	case "sshd":
		s, err := l.SSHD(ctx, c)
		if err != nil {
			return "", err
		}
		return s.Addr(), nil
	case "go":
		can := func(category sshpolicy.Category, names []string) []string {
			return slices.DeleteFunc(names, func(name string) bool { return !sshpolicy.Go.Can(category, name) })
		}
		s, err := l.SSH(lab.SSHOptions{
			KEX: can(sshpolicy.KEX, c.KexAlgorithms), Ciphers: can(sshpolicy.Cipher, c.Ciphers),
			MACs: can(sshpolicy.MAC, c.MACs), HostKeyAlgorithms: c.HostKeyAlgorithms,
		})
		if err != nil {
			return "", err
		}
		return s.Addr(), nil
	}
	return "", fmt.Errorf("no kind of server %q", kind)
}

// audit runs ssh-audit once. It exits with the gravity of what it found (1 to
// 3); only not running at all is an error.
func audit(ctx context.Context, args ...string) (int, error) {
	out, err := exec.CommandContext(ctx, "ssh-audit", append([]string{"-n"}, args...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		err = nil
	}
	return strings.Count(string(out), "(gen) banner: SSH-2.0-"), err
}

// auditEach is how the program is used by hand and from monitoring plug-ins.
func auditEach(ctx context.Context, targets []sshpolicy.Target) (int, error) {
	done := 0
	for _, t := range targets {
		n, err := audit(ctx, t.Addr)
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func probe(ctx context.Context, targets []sshpolicy.Target, p sshpolicy.Policy, offerOnly bool) (int, error) {
	done := 0
	for _, r := range sshpolicy.ProbeAll(ctx, targets, 0, sshpolicy.Options{Policy: p, OfferOnly: offerOnly}) {
		if r.Offer == nil {
			return done, r.Err
		}
		if !offerOnly && r.OK && (r.Handshake == nil || !r.Handshake.Done && r.Handshake.Why == "") {
			return done, fmt.Errorf("%s: no key exchange", r.Target)
		}
		done++
	}
	return done, nil
}

func report(measures []*measure, kind string, n int, policy string) {
	fmt.Printf("%d servers (%s) on loopback, %s, %s, %s, %d processors, policy %s; median of %d rounds\n",
		n, kind, version("sshd", "-V"), version("ssh-audit", "-n", "--help"), runtime.Version(), runtime.NumCPU(), policy, len(measures[0].took))
	fmt.Printf("%-26s %12s %12s %12s %12s\n", "", "time", "targets/s", "x -T", "x one by one")
	for _, m := range measures {
		took := median(m.took)
		fmt.Printf("%-26s %12s %12.1f %12.1f %12.1f\n", m.name, took.Round(time.Millisecond), float64(n)/took.Seconds(),
			median(measures[0].took).Seconds()/took.Seconds(), median(measures[1].took).Seconds()/took.Seconds())
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// version is the first line that a program says about itself.
func version(program string, args ...string) string {
	out, _ := exec.Command(lab.Program(program), args...).CombinedOutput() // sshd -V exits with 1 on old releases
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if i := strings.Index(first, "ssh-audit v"); i >= 0 { // it is coloured whatever one says
		first, _, _ = strings.Cut(first[i:], ",")
	}
	return first
}

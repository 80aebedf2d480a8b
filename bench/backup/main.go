// Command backup measures our backups against the programs that people use for
// them: scp, rclone and restic, over one OpenSSH server on loopback, in one run,
// in turns. It prints the tables of docs/benchmarks.md with the ratios.
//
// What is fair: everybody has the same key exchange, cipher and MAC, which are
// those that policy ucsm-4.0-2a leads to; the same tree; the same password
// hashing, since both programs' repositories are made by us; whole processes are
// timed, from their start to their end. What differs: we ask the server to write
// every file through to its disk (fsync@openssh.com), and read back what we
// sealed before it is sent; the others do neither. "Processor" is the time of
// the program, its children and the server together: it hardly depends on what
// else runs on the machine, and two processors cannot do it in less than half.
//
//	go run ./bench/backup [-size 1024] [-files 10000] [-tree 100000] [-rounds 3] [-only backup] [-dir /dev/shm]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	size, delayed int64 // bytes
	files, tree   int
	rounds        int
	rtt           time.Duration
	only          []string
	profile       string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == childArg {
		if err := child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	size := flag.Int64("size", 1024, "MiB of the large tree, half noise, half text")
	delayed := flag.Int64("delayed", 256, "MiB that travel the long way")
	files := flag.Int("files", 10_000, "files of 4 KiB")
	tree := flag.Int("tree", 100_000, "files of 4 KiB for the memory of a large tree")
	rounds := flag.Int("rounds", 3, "rounds; the median counts")
	rtt := flag.Duration("rtt", 20*time.Millisecond, "round trip of the long way")
	only := flag.String("only", "", "sections, by comma: upload, backup, files, delay, memory; all when empty")
	dir := flag.String("dir", "", "where trees and copies lie (the system's temporary folder)")
	profile := flag.String("profile", "", "write profiles of our side, of processor and memory, to this folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	o := options{
		size: *size << 20, delayed: *delayed << 20, files: *files, tree: *tree, rounds: max(1, *rounds), rtt: *rtt, profile: *profile,
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if err := run(ctx, o, *dir); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench/backup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, dir string) (err error) {
	b, err := newBench(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.Close()) }()
	b.head(os.Stdout)
	for _, section := range []struct {
		name string
		run  func(context.Context) error
	}{{"upload", b.upload}, {"backup", b.large}, {"files", b.small}, {"delay", b.delay}, {"memory", b.memory}} {
		if o.only != nil && !slices.Contains(o.only, section.name) {
			continue
		}
		if err := section.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

// contender is one way to do a piece of work.
type contender struct {
	name    string
	missing string                      // the program that is not installed
	prepare func(context.Context) error // before each round, not timed
	run     func(context.Context) (outcome, error)
	result  string // folder in which lies what it has made

	took, busy []time.Duration // of each round; busy is processor time
	peak       int64           // bytes resident, the most of all rounds
	made       int64           // bytes in the result of the last round
}

// contest lets contenders do the same work in turns.
type contest struct {
	title string
	unit  string // of a rate: "MiB" or "files"
	work  float64
	goal  float64 // of our first contender, times the peer
	peer  int     // whom the ratios are about
	all   []*contender
}

func (b *bench) hold(ctx context.Context, c *contest) error {
	for range b.o.rounds {
		for _, x := range c.all {
			if x.missing != "" {
				continue
			}
			if x.prepare != nil {
				if err := x.prepare(ctx); err != nil {
					return fmt.Errorf("%s, %s: %w", c.title, x.name, err)
				}
			}
			if err := b.round(ctx, x); err != nil {
				return fmt.Errorf("%s, %s: %w", c.title, x.name, err)
			}
		}
	}
	c.print(os.Stdout)
	return nil
}

// round measures a contender once.
func (b *bench) round(ctx context.Context, x *contender) error {
	unix.Sync() // what the one before has left to write is not to burden this one
	before, err := b.served(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	out, err := x.run(ctx)
	took := time.Since(began)
	if err != nil {
		return err
	}
	if x.made, err = sizeOf(x.result); err != nil {
		return err
	}
	after, err := b.served(ctx)
	x.took, x.busy, x.peak = append(x.took, took), append(x.busy, out.Busy+after-before), max(x.peak, out.Peak)
	return err
}

func (c *contest) print(w io.Writer) {
	peer := c.all[c.peer]
	fmt.Fprintf(w, "\n%s\n\n| | time | %s/s | x %s | goal | processor | peak memory | result |\n|---|---|---|---|---|---|---|---|\n", c.title, c.unit, peer.name)
	for i, x := range c.all {
		if x.missing != "" {
			fmt.Fprintf(w, "| %s | not installed: %s | | | | | | |\n", x.name, x.missing)
			continue
		}
		ratio, goal, took := "-", "", median(x.took)
		if len(peer.took) > 0 {
			ratio = fmt.Sprintf("%.2f", median(peer.took).Seconds()/took.Seconds())
		}
		if i == 0 && c.goal > 0 {
			goal = fmt.Sprintf("%.1f", c.goal)
		}
		fmt.Fprintf(w, "| %s | %.2f s | %.0f | %s | %s | %.2f s | %d MiB | %d MiB |\n",
			x.name, took.Seconds(), c.work/took.Seconds(), ratio, goal, median(x.busy).Seconds(), x.peak>>20, x.made>>20)
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const mib = 1 << 20

// upload compares what brings one large file to the server.
func (b *bench) upload(ctx context.Context) error {
	src := b.at("large")
	if err := makeLarge(src, b.o.size); err != nil {
		return err
	}
	return b.hold(ctx, b.uploads(fmt.Sprintf("Upload of %d MiB, half noise, half text", b.o.size/mib), src, b.sshd.Addr(), .9))
}

func (b *bench) uploads(title, src, addr string, goal float64) *contest {
	to := b.at("upload")
	contender := func(name, needs string, run func(context.Context) (outcome, error)) *contender {
		return &contender{name: name, missing: missing(needs), prepare: b.empty("upload"), run: run, result: to}
	}
	info, _ := os.Stat(filepath.Join(src, "data")) // it was just made
	c := &contest{title: title, unit: "MiB", work: float64(info.Size()) / mib, goal: goal, peer: 2}
	c.all = append(c.all,
		contender("allclear, archive (tar, zstd, age)", "sshd", func(ctx context.Context) (outcome, error) {
			return b.ours(ctx, job{Do: "archive", Addr: addr, Folder: to, Source: src})
		}),
		contender("allclear, the file as it is", "sshd", func(ctx context.Context) (outcome, error) {
			return b.ours(ctx, job{Do: "save", Addr: addr, Folder: to, Source: src})
		}),
		contender("scp", "scp", func(ctx context.Context) (outcome, error) { return b.scp(ctx, addr, src, to) }),
	)
	if addr == b.sshd.Addr() {
		c.all = append(c.all, contender("rclone", "rclone", func(ctx context.Context) (outcome, error) { return b.rclone(ctx, src, to) }))
	}
	return c
}

// large compares repositories of one large file.
func (b *bench) large(ctx context.Context) error {
	src := b.at("large")
	if err := makeLarge(src, b.o.size); err != nil {
		return err
	}
	what := fmt.Sprintf("%d MiB, half noise, half text", b.o.size/mib)
	return b.repositories(ctx, what, "MiB", float64(b.o.size)/mib, src, b.sshd.Addr(), 1.3)
}

// small compares repositories of many small files.
func (b *bench) small(ctx context.Context) error {
	src := b.at("small")
	if err := makeSmall(src, b.o.files); err != nil {
		return err
	}
	what := fmt.Sprintf("%d files of 4 KiB", b.o.files)
	return b.repositories(ctx, what, "files", float64(b.o.files), src, b.sshd.Addr(), 1)
}

// repositories compares the first backup, a second one of the same tree, and the
// restore, and checks once what both have restored.
func (b *bench) repositories(ctx context.Context, what, unit string, work float64, src, addr string, goal float64) error {
	const ours, theirs = "repo-allclear", "repo-restic"
	fresh := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := errors.Join(b.empty(name)(ctx), b.empty("cache")(ctx)); err != nil {
				return err
			}
			_, err := b.ours(ctx, job{Do: "init", Folder: b.at(name)})
			return err
		}
	}
	pair := func(title string, goal float64, do string, command []string, prepareOurs, prepareTheirs func(context.Context) error) *contest {
		results := [2]string{b.at(ours), b.at(theirs)}
		if do == "restore" {
			results = [2]string{b.at("out-allclear"), b.at("out-restic")}
		}
		return &contest{title: title, unit: unit, work: work, goal: goal, peer: 1, all: []*contender{
			{name: "allclear", result: results[0], prepare: prepareOurs, run: func(ctx context.Context) (outcome, error) {
				return b.ours(ctx, job{Do: do, Addr: addr, Folder: b.at(ours), Source: src, Dest: b.at("out-allclear")})
			}},
			{name: "restic", result: results[1], missing: missing("restic"), prepare: prepareTheirs, run: func(ctx context.Context) (outcome, error) {
				return b.restic(ctx, addr, b.at(theirs), command...)
			}},
		}}
	}
	first := pair("Backup to a new repository of "+what, goal, "backup", []string{"backup", src}, fresh(ours), fresh(theirs))
	if err := b.hold(ctx, first); err != nil {
		return err
	}
	again := pair("Second backup, nothing changed, of "+what, 0, "backup", []string{"backup", src}, nil, nil)
	if err := b.hold(ctx, again); err != nil {
		return err
	}
	restore := pair("Restore of "+what, 1, "restore", []string{"restore", "latest", "--target", b.at("out-restic")},
		b.empty("out-allclear"), b.empty("out-restic"))
	if err := b.hold(ctx, restore); err != nil {
		return err
	}
	for _, x := range restore.all {
		if x.missing == "" {
			if err := equal(src, b.at("out-"+x.name)+src); err != nil {
				return fmt.Errorf("%s restored wrongly: %w", x.name, err)
			}
		}
	}
	return b.empty("out-allclear", "out-restic", ours, theirs)(ctx)
}

// delay compares over a long way.
func (b *bench) delay(ctx context.Context) (err error) {
	src := b.at("delayed")
	if err := makeLarge(src, b.o.delayed); err != nil {
		return err
	}
	w, err := newWay(b.sshd.Addr(), b.o.rtt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	what := fmt.Sprintf("%d MiB, half noise, half text, round trip %s", b.o.delayed/mib, b.o.rtt)
	if err := b.hold(ctx, b.uploads("Upload of "+what, src, w.addr(), 1.2)); err != nil {
		return err
	}
	return b.repositories(ctx, what, "MiB", float64(b.o.delayed)/mib, src, w.addr(), 0)
}

// memory shows that a tree of many files takes no more.
func (b *bench) memory(ctx context.Context) error {
	src := b.at("many")
	if err := makeSmall(src, b.o.tree); err != nil {
		return err
	}
	rounds := b.o.rounds
	b.o.rounds = 1 // a peak, not a time
	defer func() { b.o.rounds = rounds }()
	return b.repositories(ctx, fmt.Sprintf("%d files of 4 KiB", b.o.tree), "files", float64(b.o.tree), src, b.sshd.Addr(), 1)
}
